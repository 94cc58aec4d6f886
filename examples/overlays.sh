#!/usr/bin/env bash
# A service with overlays of its own: 2 replicas in dev, 10 in staging, 20 in prod; promoted, repaired, rolled back.
# Every step asserts. Needs git and curl; with root it runs containers, else Pods are simulated.
title=OVERLAYS
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
state() { trimtab status || true; trimtab explain overlays --env dev || true; }

step "trimtab up"
start up trimtab

# The Kubernetes API, without kubectl.
trimtab kubeconfig >"$work/kubeconfig"
server=$(sed -n 's/^ *server: *//p' "$work/kubeconfig" | tr -d '"')
token=$(sed -n 's/^ *token: *//p' "$work/kubeconfig" | tr -d '"')
api() { curl -sSk --max-time 10 --fail -H @"$work/authorization" "$@"; }
(umask 077 && printf 'Authorization: Bearer %s\n' "$token" >"$work/authorization")
deployment() { api "$server/apis/apps/v1/namespaces/overlays-$1/deployments/overlays"; }
replicas() { # ENVIRONMENT NUMBER: so many are wanted, and so many are ready
    local seen; seen=$(deployment "$1" | tr -d ' \n')
    grep -q "\"replicas\":$2[,}]" <<<"$seen" && grep -q "\"readyReplicas\":$2[,}]" <<<"$seen"
}

step "git push: 2 replicas in dev, out of overlays/dev"
cp -r "$examples/overlays" overlays && cd overlays
git init -q -b main && identity
git add . && git commit -qm "Overlays"
trimtab init
git push trimtab main 2>&1 || fail "push"
eventually 60 replicas dev 2

step "what runs is what the overlay says"
trimtab render deploy/overlays/dev >"$work/rendered"
grep -q 'replicas: 2' "$work/rendered" || fail "render: $(cat "$work/rendered")"
deployment dev | grep -q 'registry.trimtab.internal/overlays/overlays@sha256:' || fail "the image has no digest"

step "promoted: 10 in staging, 20 in prod with LOG_LEVEL=warn"
trimtab promote overlays --to staging
eventually 60 replicas staging 10
trimtab promote overlays --to prod
eventually 90 replicas prod 20
api "$server/api/v1/namespaces/overlays-prod/configmaps" | grep -q '"LOG_LEVEL": *"warn"' || fail "prod has no LOG_LEVEL=warn"

step "an edit of an overlay is promoted like a change"
sed -i 's/count: 10/count: 3/' deploy/overlays/staging/kustomization.yaml
git commit -qam "staging: 3 replicas" && git push -q trimtab main 2>/dev/null
trimtab promote overlays --to staging
eventually 60 replicas staging 3

step "repaired when somebody changes it"
api -X PATCH -H 'Content-Type: application/merge-patch+json' -d '{"spec":{"replicas":5}}' \
    "$server/apis/apps/v1/namespaces/overlays-staging/deployments/overlays" >/dev/null || fail "patch"
eventually 60 replicas staging 3
eventually 20 sh -c 'trimtab history | grep -q repaired'

step "rolled back: 10 again"
trimtab rollback --env staging
eventually 60 replicas staging 10

trimtab down --purge --yes
printf '\nThe story is told.\n'
