#!/usr/bin/env bash
# A chart over two others, one of them from a repository: pushed, promoted, repaired, rolled back without that repository;
# and a chart of the repository alone, which follows its versions. Every step asserts. Needs git, curl and busybox; with
# root it runs containers and hooks, else Pods are simulated.
title=UMBRELLA
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
state() { trimtab status || true; trimtab explain umbrella --env dev || true; trimtab history || true; }
also_down() { [ -z "${httpd:-}" ] || kill "$httpd" 2>/dev/null || true; }

step "a chart repository, over HTTP"
mkdir -p "$work/charts"
# publish VERSION: greeting in that version, and the index anew.
publish() {
    local into="$work/greeting-$1"
    mkdir -p "$into" && cp -r "$examples/umbrella/greeting" "$into/"
    sed -i "s/^version: .*/version: $1/" "$into/greeting/Chart.yaml"
    tar -C "$into" -czf "$work/charts/greeting-$1.tgz" greeting
    {
        printf 'apiVersion: v1\nentries:\n  greeting:\n'
        for archive in "$work"/charts/greeting-*.tgz; do
            local version=${archive##*greeting-}
            printf '  - {name: greeting, version: %s, digest: %s, urls: [%s]}\n' \
                "${version%.tgz}" "$(sha256sum <"$archive" | cut -d' ' -f1)" "${archive##*/}"
        done
    } >"$work/index.new" && mv "$work/index.new" "$work/charts/index.yaml"
}
publish 1.0.0
for _ in $(seq 20); do
    port=$((20000 + RANDOM % 20000))
    busybox httpd -f -p "127.0.0.1:$port" -h "$work/charts" 2>/dev/null &
    httpd=$!
    sleep 0.1
    kill -0 "$httpd" 2>/dev/null && break
done
repository="http://127.0.0.1:$port"
eventually 10 curl -sf --noproxy '*' "$repository/index.yaml"

step "trimtab render takes a chart from there"
expect "$(trimtab render greeting --repo "$repository" --release-name hi)" "Hello, world, from greeting 1.0.0"

step "trimtab up"
start up trimtab
trimtab kubeconfig >"$work/kubeconfig"
server=$(sed -n 's/^ *server: *//p' "$work/kubeconfig" | tr -d '"')
token=$(sed -n 's/^ *token: *//p' "$work/kubeconfig" | tr -d '"')
(umask 077 && printf 'Authorization: Bearer %s\n' "$token" >"$work/authorization")
api() { curl -sSk --max-time 10 --fail -H @"$work/authorization" "$@"; }
core() { api "$server/api/v1/namespaces/umbrella-$1/$2"; }
deployment() { api "$server/apis/apps/v1/namespaces/umbrella-$1/deployments/umbrella-web"; }
ready() { # ENVIRONMENT NUMBER: so many are wanted, and so many are ready
    local seen; seen=$(deployment "$1" | tr -d ' \n')
    grep -q "\"replicas\":$2[,}]" <<<"$seen" && grep -q "\"readyReplicas\":$2[,}]" <<<"$seen"
}
greets() { core "$1" "configmaps/${3:-umbrella}-greeting" | grep -q "$2"; }
password() { core "$1" secrets/umbrella-password | tr -d ' \n' | sed 's/.*"password":"\([^"]*\)".*/\1/'; }

step "git push: the chart with its subcharts in dev"
cp -r "$examples/umbrella" umbrella && cd umbrella && rm -r greeting
cp "$(command -v busybox)" busybox
sed -i "s|http://charts.example.com|$repository|" chart/Chart.yaml
[ "$(id -u)" != 0 ] || sed -i 's/^migrate: .*/migrate: true/' chart/values.yaml
git init -q -b main && identity
git add . && git commit -qm "Umbrella"
trimtab init
git push trimtab main 2>&1 || fail "push"
eventually 60 ready dev 1
greets dev "Hello, world, from greeting 1.0.0" || fail "dev does not greet"
deployment dev | grep -q 'registry.trimtab.internal/umbrella/umbrella@sha256:' || fail "the image has no digest"
expect "$(trimtab status)" "umbrella-1 (umbrella 0.1.0)"
[ -z "$(core dev pods | grep -o migrate || true)" ] || fail "a hook for upgrades ran at the first install"

step "promoted to staging: its own values, its own password"
trimtab promote umbrella --to staging
eventually 60 ready staging 2
greets staging "Hello, staging, from greeting 1.0.0" || fail "staging has no values of its own"
before=$(password dev)
[ -n "$before" ] && [ "$before" != "$(password staging)" ] || fail "the passwords are one"

step "a newer subchart and a newer chart: the upgrade runs its hook, the password stays"
publish 1.1.0
sed -i 's/^version: 0.1.0/version: 0.2.0/' chart/Chart.yaml
git commit -qam "The chart 0.2.0" && git push -q trimtab main 2>/dev/null
eventually 60 greets dev "from greeting 1.1.0"
eventually 60 ready dev 1
[ "$(password dev)" = "$before" ] || fail "the password of dev has changed"
expect "$(trimtab history)" "umbrella 0.1.0 → 0.2.0"
[ "$(id -u)" != 0 ] || expect "$(trimtab history)" "hooks of pre-upgrade succeeded"

step "promoted, and repaired when somebody changes it"
trimtab promote umbrella --to staging
eventually 60 greets staging "from greeting 1.1.0"
api -X PATCH -H 'Content-Type: application/merge-patch+json' -d '{"spec":{"replicas":5}}' \
    "$server/apis/apps/v1/namespaces/umbrella-staging/deployments/umbrella-web" >/dev/null || fail "patch"
eventually 60 ready staging 2
eventually 20 sh -c 'trimtab history | grep -q repaired'

step "a chart of the repository, described in the config repository, follows its versions"
clone_config && cd "$work/config"
mkdir -p components/greeting
printf 'project: umbrella\ncomponent: greeting\nchart:\n  repository: %s\n  name: greeting\n  version: ^1.0.0\n' \
    "$repository" >components/greeting.yaml
echo 'whom: Ada' >components/greeting/values-dev.yaml
git add . && git commit -qm "greeting, from the repository" && git push -q origin HEAD:main 2>/dev/null
eventually 30 greets dev "Hello, Ada, from greeting 1.1.0" greeting
publish 1.2.0
expect "$(cd "$work/umbrella" && trimtab chart update greeting)" "greeting-2"
eventually 30 greets dev "Hello, Ada, from greeting 1.2.0" greeting
expect "$(cd "$work/umbrella" && trimtab chart update greeting)" "has that version already"
cd "$work/umbrella"

step "rolled back, though the repository is gone"
kill "$httpd" && wait "$httpd" 2>/dev/null || true
trimtab rollback --env staging
eventually 60 greets staging "from greeting 1.0.0"
eventually 60 ready staging 2

trimtab down --purge --yes
printf '\nThe story is told.\n'
