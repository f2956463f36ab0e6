#!/bin/sh
# Ask, and see the events as they come. With keys: KEY=… sh examples/curl.sh "question"
url=${SLUICE_URL:-http://127.0.0.1:9001}
question=${1:-沈塘桥地铁站的信息}
set -- -sSN --get "$url/getAnwser" --data-urlencode "question=$question"
[ -z "$KEY" ] || set -- "$@" -H "Authorization: Bearer $KEY"
[ -z "$DATABASE" ] || set -- "$@" --data-urlencode "database=$DATABASE"
exec curl "$@"
