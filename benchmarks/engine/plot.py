"""Bars of tokens per second, as an SVG that needs no library."""

from __future__ import annotations

from html import escape

COLOURS = ("#9aa5b1", "#c7a252", "#7a6ff0", "#0f9d8a", "#d1495b")
LEFT, BAR, WIDTH = 110, 16, 560


def plot(rates: dict[tuple[str, int], float]) -> str:
    """rates: (target, clients) → tokens/s; one group of bars per number of clients."""
    targets = list(dict.fromkeys(name for name, _ in rates))
    most = max(rates.values())
    y, parts = 14, []
    for clients in sorted({clients for _, clients in rates}):
        parts.append(f'<text x="0" y="{y + 12}">{clients} client{"s" * (clients > 1)}</text>')
        for name in targets:
            if (rate := rates.get((name, clients))) is not None:
                width = max(1.0, rate / most * WIDTH)
                colour = COLOURS[targets.index(name) % len(COLOURS)]
                parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 3}" fill="{colour}"/>')
                parts.append(f'<text x="{LEFT + width + 5:.1f}" y="{y + 11}">{escape(name)} {rate:,.0f}</text>')
                y += BAR
        y += 10
    size = f"0 0 {LEFT + WIDTH + 160} {y}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" font-family="sans-serif" font-size="11">'
    return head + "".join(parts) + "</svg>\n"
