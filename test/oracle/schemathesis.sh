#!/usr/bin/env bash
# Generates requests from the server's own OpenAPI document with schemathesis, and fails on any answer of 500 or above, or none.
# Needs `pip install schemathesis==4.32.5`; not part of the tests, which have a fuzz of their own that needs no Python.
#
#   bash test/oracle/schemathesis.sh [EXAMPLES]    for each operation, 25 when not said
set -eu
cd "$(dirname "$0")/../.."
examples=${1:-25}
output=$(mktemp)
node bin/sparq.mjs serve --port 0 --log-level warn --kv-cache-mb 64 --request-timeout 20 >"$output" &
server=$!
trap 'kill $server; wait $server; rm -f "$output"' EXIT
url=
for _ in $(seq 300); do
  url=$(sed -n 's/.* at \(http[^ ]*\).*/\1/p' "$output")
  [ -n "$url" ] && break
  kill -0 $server
  sleep 0.2
done
cd "$(dirname "$output")" && schemathesis run "$url/openapi.json" --checks not_a_server_error --max-examples "$examples" --request-timeout 30 --phases coverage,fuzzing
# It still answers, and has given everything back.
curl -fsS "$url/health" | grep -q '"running":0,"waiting":0'
