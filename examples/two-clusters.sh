#!/usr/bin/env bash
# Staging on a second cluster, which pulls from the first one's registry. A second instance stands in for it.
# Every step asserts. Needs root (for real containers), git and curl; uses kubectl where there is one.
title="TWO CLUSTERS"
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

edge() { trimtab --data-dir "$work/edge" "$@"; }
says() { trimtab status | grep -qF -- "$1"; }

also_down() { edge down >/dev/null 2>&1; }

step "two instances"
start hub trimtab
start edge trimtab --data-dir "$work/edge"
edge_pid=$pid

step "hello in dev, on the first"
cp -r "$examples/hello" hello && cd hello
trimtab init >/dev/null
identity
git push -q trimtab main 2>/dev/null
eventually 30 shows dev 1

step "trimtab dataplane add edge"
edge kubeconfig >"$work/kubeconfig"
added=$(trimtab dataplane add edge --kubeconfig "$work/kubeconfig" --reachable)
echo "$added"
expect "$added" "it answers: Kubernetes v1."

step "a commit moves staging there"
clone_config
cd "$work/config"
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
start edge trimtab --data-dir "$work/edge"
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
