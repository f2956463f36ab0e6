"""What is shipped in deploy/ is accepted by the programs that it is for, and speaks of metrics that exist."""

from __future__ import annotations

import configparser
import http.client
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from packaging.requirements import Requirement

from gateway import cli
from gateway.server.master import GRACE_S
from gateway.settings import Server, load
from tests.parts import require
from tests.ports import free_port
from tests.reliability.rig import Nginx

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
# Where systemd makes the directories that a unit may write.
PLACES = {"run": "RuntimeDirectory", "var/lib": "StateDirectory", "var/cache": "CacheDirectory"}


def test_the_dashboard_asks_only_for_metrics_that_exist():
    from gateway.observability import metrics

    defined = set(re.findall(r'"(sluice_\w+)"', Path(metrics.__file__).read_text("utf-8")))
    for panel in json.loads((DEPLOY / "grafana.json").read_text("utf-8"))["panels"]:
        for target in panel["targets"]:
            for name in re.findall(r"sluice_\w+", target["expr"]):
                assert re.sub(r"_(total|bucket)$", "", name) in defined


def test_the_alerts_are_rules_of_metrics_that_exist_and_each_is_explained():
    """As `promtool check rules` judges: keys of a rule, durations, expressions in Prometheus' grammar."""
    import promql_parser

    from gateway.observability import metrics

    defined = set(re.findall(r'"(sluice_\w+)"', Path(metrics.__file__).read_text("utf-8")))
    explained = (DEPLOY.parent / "docs" / "operating.md").read_text("utf-8")
    [group] = yaml.safe_load((DEPLOY / "alerts.yaml").read_text("utf-8"))["groups"]
    assert group.keys() == {"name", "rules"} and len(group["rules"]) >= 8
    for rule in group["rules"]:
        assert {"alert", "expr"} <= rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"[A-Za-z_]\w*", rule["alert"]) and f"| `{rule['alert']}` |" in explained
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        promql_parser.parse(rule["expr"])
        for name in re.findall(r"sluice_\w+", rule["expr"]):
            assert re.sub(r"_(total|bucket)$", "", name) in defined, name
    with pytest.raises(ValueError):
        promql_parser.parse("sum(rate(a_total[5m])")


def test_the_containers_configuration_is_good():
    settings = load(DEPLOY / "sluice.compose.yaml", environ={})
    assert Path(settings.providers["local"].model).name == "metro-sql"
    assert settings.server.is_loopback


def test_the_compose_file_names_files_that_exist():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    root = DEPLOY.parent
    assert (root / services["sluice"]["build"]["dockerfile"]).exists()
    for volume in [*services["nginx"]["volumes"], *services["sluice"]["volumes"]]:
        assert (DEPLOY / volume.split(":")[0]).exists()
    image = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert f"SLUICE_CONFIG={services['sluice']['volumes'][0].split(':')[1]} " in image


def test_the_containers_are_reached_by_this_machine_alone_and_their_metrics_by_it():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    ports = [port.split(":") for service in services.values() for port in service.get("ports", [])]
    assert {host for host, _, _ in ports} == {"127.0.0.1"}
    server = load(DEPLOY / "sluice.compose.yaml", environ={}).server
    inside = {port for _, _, port in ports}
    assert server.metrics_bind.rpartition(":")[2] in inside
    assert not server.metrics_bind.startswith("127.")
    # The gateway listens on loopback, so nginx has to share it.
    assert services["sluice"]["network_mode"] == "service:nginx"
    assert int(services["sluice"]["stop_grace_period"].rstrip("s")) > Server().drain_s + GRACE_S


def test_the_image_is_built_with_what_the_installer_reads():
    given = set(re.findall(r"^ARG (\w+)", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE))
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    assert set(services["sluice"]["build"]["args"]) <= given


def test_the_image_copies_only_what_is_there_and_runs_without_rights():
    image = (DEPLOY / "Dockerfile").read_text("utf-8")
    for source in re.findall(r"^COPY ([\w./]+) ", image, re.MULTILINE):
        assert (DEPLOY.parent / source).exists(), source
    last = image.rpartition("FROM ")[2]
    assert "USER 10001" in last and "COPY . ." not in last  # the tests and the source stay in the first stage
    assert yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["sluice"]["read_only"] is True


def test_the_lock_has_a_hash_for_each_package_that_setup_cfg_asks_for():
    lock = (DEPLOY / "requirements.lock").read_text("utf-8")
    hashed = r"^([A-Za-z0-9_.-]+)==([^ ;]+)[^\n]*\\\n    --hash=sha256:[0-9a-f]{64}"
    found = re.findall(hashed, lock, re.MULTILINE)
    assert len(found) == len(re.findall(r"^[A-Za-z0-9_.-]+==", lock, re.MULTILINE))
    pinned = dict(found)
    configuration = configparser.ConfigParser()
    configuration.read(DEPLOY.parent / "setup.cfg")
    for line in configuration["options"]["install_requires"].splitlines():
        if line.strip() and not line.startswith("#"):
            wanted = Requirement(line)
            assert wanted.specifier.contains(pinned[wanted.name.lower()]), line
    assert "://" not in lock


def test_kubernetes_accepts_the_manifests_and_the_gateway_their_configuration(tmp_path):
    manifests = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))
    for manifest in manifests:
        kubernetes_validate.validate(manifest, "1.31", strict=True)
    by_kind = {manifest["kind"]: manifest for manifest in manifests}
    file = tmp_path / "sluice.yaml"
    file.write_text(by_kind["ConfigMap"]["data"]["sluice.yaml"], "utf-8")
    settings = load(file, environ={"DASHSCOPE_API_KEY": "k", "SLUICE_KEY_SHA256": "0" * 64})
    assert settings.problems() == []
    pod = by_kind["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.server.bind.endswith(f":{ports['http']}")
    assert settings.server.metrics_bind.endswith(f":{ports['metrics']}")
    wait_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > settings.server.drain_s + wait_s + GRACE_S
    assert container["securityContext"]["readOnlyRootFilesystem"] and pod["securityContext"]["runAsNonRoot"]


def test_nginx_takes_the_shipped_file_as_it_is(tmp_path):
    program = require("nginx")
    beside = f"pid {tmp_path}/nginx.pid; error_log stderr;"
    command = [program, "-t", "-p", str(tmp_path), "-c", str(DEPLOY / "nginx.conf"), "-g", beside]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "test is successful" in told.stderr


def test_nginxs_own_errors_have_the_form_of_the_gateways(tmp_path):
    nginx = Nginx(tmp_path, free_port())
    try:
        for path, body, status, code in (
            ("/", b"", 502, "overloaded"),
            ("/getAnwser?question=x", b"", 502, "overloaded"),
            ("/getAnwser", b"x" * (21 << 20), 413, "too_large"),
            (f"/getAnwser?question={'x' * 20_000}", b"", 414, "too_large"),
        ):
            connection = http.client.HTTPConnection(*nginx.address, timeout=30)
            connection.putrequest("POST" if body else "GET", path)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            reply = connection.getresponse()
            told = json.loads(reply.read())
            connection.close()
            assert (reply.status, told["error"]["code"]) == (status, code)
            assert reply.headers["Content-Type"] == "application/json"
            assert set(told["error"]) == {"code", "message", "type", "param", "retryable", "retry_after", "request_id"}
    finally:
        nginx.kill()


NGINX_ERRORS = {
    "a malformed request": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_request"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "a header too large": (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 400, "bad_request",
    ),
    "an unknown transfer coding": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: foo\r\n\r\n", 501, "bad_request",
    ),
    "HTTP/3": (b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505, "bad_request"),
}  # fmt: skip


def test_what_nginx_cannot_read_is_refused_as_json_without_a_redirect(tmp_path):
    nginx = Nginx(tmp_path, free_port())
    try:
        for what, (data, status, code) in NGINX_ERRORS.items():
            with socket.create_connection(nginx.address, 20) as sock:
                sock.settimeout(20)
                sock.sendall(data)
                got = b""
                while not got.endswith(b"}}") and (piece := sock.recv(65536)):
                    got += piece
            head, _, body = got.partition(b"\r\n\r\n")
            assert head.split()[1] == b"%d" % status, (what, head)
            assert json.loads(body)["error"]["code"] == code, what
            assert b"ocation:" not in head and b"application/json" in head, what
    finally:
        nginx.kill()


def test_gunicorn_takes_the_shipped_file_as_it_is(tmp_path):
    settings = {
        "default": "a",
        "providers": {"a": {"type": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1"}},
    }
    (tmp_path / "sluice.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    command = [sys.executable, "-m", "gunicorn", "-c", str(DEPLOY / "gunicorn.conf.py"), "--check-config", "wsgi:app"]
    environ = os.environ | {"SLUICE_CONFIG": str(tmp_path / "sluice.yaml"), "SLUICE_RUN_DIR": str(tmp_path / "run")}
    told = subprocess.run(command, cwd=DEPLOY.parent, env=environ, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def test_the_unit_starts_a_command_that_is_installed_and_gives_it_time_to_drain():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "sluice.service", "utf-8")
    service = unit["Service"]
    program, command = service["ExecStart"].split()
    metadata = configparser.ConfigParser()
    metadata.read(DEPLOY.parent / "setup.cfg", "utf-8")
    assert Path(program).name + " = gateway.cli:main" in metadata["options.entry_points"]["console_scripts"]
    assert command in cli.main.commands
    assert int(service["TimeoutStopSec"]) > Server().drain_s + GRACE_S
    written = re.findall(r"=(/\S+)", (DEPLOY / "sluice.service").read_text("utf-8").partition("RuntimeDirectory=")[2])
    allowed = {f"/{top}/{service[key]}" for top, key in PLACES.items()}
    assert written and all(any(path.startswith(place) for place in allowed) for path in written)
    assert service["OOMPolicy"] == "continue"
    assert service["KillMode"] == "mixed"  # only the master is told to stop; it tells the workers


def test_nginx_waits_longer_than_the_heartbeat_and_asks_once():
    said = (DEPLOY / "nginx.conf").read_text("utf-8")
    directives = dict(re.findall(r"^\s*(\w+) ([^;#]+);", said, re.MULTILINE))
    assert int(directives["proxy_read_timeout"].rstrip("s")) > 3 * Server().heartbeat_s
    assert int(directives["send_timeout"].rstrip("s")) >= Server().write_timeout_s
    assert int(directives["worker_connections"]) > 2 * Server().max_streams
    assert directives["proxy_http_version"] == "1.1"
    assert "non_idempotent" not in directives["proxy_next_upstream"]
