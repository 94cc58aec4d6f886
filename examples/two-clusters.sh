#!/usr/bin/env bash
# Staging on a second cluster, which pulls from the first one's registry. A second instance stands in for it.
# Every step asserts. Needs root (for real containers), git and curl; uses kubectl where there is one.
set -euo pipefail

examples=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${TRIMTAB_STORY_INSTALLED:-}" ]; then
    cargo install --path "$examples/../crates/trimtab"
fi

work=$(mktemp -d)
export HOME="$work/home"
mkdir "$HOME"
unset XDG_DATA_HOME TRIMTAB_DATA GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1
cd "$work"

edge() { trimtab --data-dir "$work/edge" "$@"; }
step() { printf '\n\033[1m▸ %s\033[0m\n' "$*"; }
fail() {
    printf '\nTWO CLUSTERS FAILED: %s\n' "$*" >&2
    { trimtab status || true; trimtab history || true; tail -n 40 "$work"/*.log; } >&2 2>&1
    exit 1
}
# eventually SECONDS COMMAND…: until it succeeds.
eventually() {
    local deadline=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || fail "did not become true: $*"
        sleep 0.05
    done
}
expect() { grep -qF -- "$2" <<<"$1" || fail "expected «$2» in: $1"; }
answers() { local code=0; "$@" status --project none >/dev/null 2>&1 || code=$?; [ $code -eq 3 ]; }
page() { curl -sS --max-time 10 "$(trimtab url hello --env "$1")"; }
shows() { [ "$(page "$1")" = "Hello from Trimtab, version $2." ]; }
says() { trimtab status | grep -qF -- "$1"; }

edge_up() {
    trimtab --data-dir "$work/edge" up --listen 127.0.0.1:0 >>"$work/edge.log" 2>&1 &
    edge_pid=$!
    eventually 30 answers edge
}
cleanup() {
    trimtab down >/dev/null 2>&1 || true
    edge down >/dev/null 2>&1 || true
    for pid in ${hub_pid:-} ${edge_pid:-}; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

step "two instances"
trimtab up --listen 127.0.0.1:0 >>"$work/hub.log" 2>&1 &
hub_pid=$!
eventually 30 answers trimtab
edge_up

step "hello in dev, on the first"
cp -r "$examples/hello" hello && cd hello
trimtab init >/dev/null
git config user.name "Ada" && git config user.email "ada@example.com"
git push -q trimtab main 2>/dev/null
eventually 30 shows dev 1

step "trimtab dataplane add edge"
edge kubeconfig >"$work/kubeconfig"
added=$(trimtab dataplane add edge --kubeconfig "$work/kubeconfig" --reachable)
echo "$added"
expect "$added" "it answers: Kubernetes v1."

step "a commit moves staging there"
git clone -q "$(trimtab url --config)" "$work/config" -c "credential.helper=!trimtab credential"
cd "$work/config"
git config user.name "Ada" && git config user.email "ada@example.com"
echo "dataPlane: edge" >>environments/staging.yaml
git commit -qam "staging: on edge" && git push -q 2>/dev/null
cd "$work/hello"
trimtab promote hello --to staging
shows staging 1 || fail "staging shows: $(page staging)"
expect "$(trimtab status)" "on edge"
if command -v kubectl >/dev/null; then
    images=$(kubectl --kubeconfig "$work/kubeconfig" get pods -n hello-staging -o 'jsonpath={.items[*].spec.containers[*].image}')
    expect "$images" "/hello/hello@sha256:"
    case $images in *registry.trimtab.internal*) fail "the registry's name was not mapped: $images" ;; esac
fi

step "edge is gone: staging says so, dev goes on"
kill -9 "$edge_pid"; wait "$edge_pid" 2>/dev/null || true
eventually 60 says "DataPlane edge unreachable"
trimtab status
sed -i 's/version 1/version 2/' public/index.html
git commit -qam "Version 2" && git push -q trimtab main 2>/dev/null
eventually 30 shows dev 2
held=$(trimtab promote hello --to staging) && fail "a promotion went to a cluster that is gone"
expect "$held" "DataPlane edge unreachable"

step "edge is back: what waited moves by itself"
edge_up
eventually 60 shows staging 2
trimtab history

step "a token that reads the images of one project, and stands nowhere"
token=$(sed -n 's/.*"pullToken": "\(.*\)".*/\1/p' "$HOME/.local/share/trimtab/dataplanes/hello/edge.json")
[ -n "$token" ] || fail "there is no pull token"
for shown in "$(trimtab status -o json)" "$(trimtab history -n 1000 -o json)" "$(trimtab diff --env staging -o json)" \
    "$(git -C "$work/config" pull -q; git -C "$work/config" log -p)" "$(cat "$work/hub.log")"; do
    case $shown in *"$token"*) fail "the token is shown" ;; esac
done

printf '\nTWO CLUSTERS: all steps passed.\n'
