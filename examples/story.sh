#!/usr/bin/env bash
# From an empty machine to a service that heals, moves through environments and rolls back.
# Every step asserts. Needs root (for real containers), git and curl; uses kubectl where there is one.
title=STORY
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

commits() { git -C "$work/config" pull -q && git -C "$work/config" rev-list --count HEAD; }

up() { start up trimtab; up=$pid; }

step "trimtab up"
up
cat "$work/up.log"

step "trimtab init"
cp -r "$examples/hello" hello && cd hello
expect "$(trimtab init)" "git push trimtab main"
identity
[ -s trimtab.yaml ] || fail "no trimtab.yaml"
[ -z "$(git status --porcelain)" ] || fail "init left something uncommitted: $(git status --porcelain)"
case $(git remote get-url trimtab) in *@*) fail "a credential stands in the URL" ;; esac

step "git push trimtab main"
pushed=$(git push trimtab main 2>&1) || fail "push: $pushed"
echo "$pushed"
in_order() { # TEXT WORD…: the words stand in it in this order
    local text=$1 word; shift
    for word; do
        case $text in *"$word"*) text=${text#*"$word"} ;; *) fail "«$word» is missing, or out of order, in: $pushed" ;; esac
    done
}
in_order "$pushed" "received" "FROM trimtab/static" "COPY public /srv" "hello-1" "dev" "http://hello.dev.hello.localhost"

step "the page, through the gateway, from a real container"
shows dev 1 || fail "dev shows: $(page dev)"

step "trimtab promote hello --to staging"
clone_config
before=$(commits)
trimtab promote hello --to staging
shows staging 1 || fail "staging shows: $(page staging)"
[ "$(commits)" -eq $((before + 1)) ] || fail "a promotion is one commit, not $(($(commits) - before))"

step "version 2: to dev by push, to staging by promotion"
sed -i 's/version 1/version 2/' public/index.html
git commit -qam "Version 2" && git push -q trimtab main 2>/dev/null
shows dev 2 || fail "dev shows: $(page dev)"
shows staging 1 || fail "staging moved by itself: $(page staging)"
trimtab promote hello --to staging
shows staging 2 || fail "staging shows: $(page staging)"

step "trimtab rollback --env staging: version 1 again, without a build, in under 2 s"
before=$(commits)
start=$(milliseconds)
trimtab rollback --env staging
shows staging 1 || fail "staging shows: $(page staging)"
took=$(($(milliseconds) - start))
echo "rolled back and serving after $took ms"
[ "$took" -lt $((2000 * ${TRIMTAB_STORY_PATIENCE:-1})) ] || fail "the rollback took $took ms"
[ "$(commits)" -eq $((before + 1)) ] || fail "a rollback is one commit"

kubeconfig="$work/kubeconfig"
trimtab kubeconfig >"$kubeconfig"
k() { kubectl --kubeconfig "$kubeconfig" "$@"; }
if command -v kubectl >/dev/null; then
    step "kubectl get deployments,pods,components,environments,builds,promotions -A"
    all=$(k get deployments,pods,components,environments,builds,promotions -A) || fail "kubectl get: $all"
    echo "$all"
    for word in deployment.apps/hello pod/hello- component.trimtab.dev/hello environment.trimtab.dev/staging build.trimtab.dev/hello-2 promotion.trimtab.dev/; do
        expect "$all" "$word"
    done

    step "kubectl delete deployment hello -n hello-dev: serving again within a second"
    k delete deployment hello -n hello-dev --wait=false
    start=$(milliseconds)
    eventually 10 k get deployment hello -n hello-dev
    eventually 10 shows dev 2
    echo "serving again after $(($(milliseconds) - start)) ms"
    eventually 10 sh -c 'trimtab history | grep -q repaired'

    step "a projected spec is changed in git, not by kubectl"
    refused=$(k patch environment staging -n hello --type merge -p '{"spec":{"suspend":true}}' 2>&1) && fail "kubectl changed a projected spec"
    expect "$refused" "environments/staging.yaml"
fi

step "a commit by hand does what the command does"
cd "$work/config" && git pull -q
trimtab --project hello promote hello --build hello-1 --to staging >/dev/null || true
git pull -q
revert=$(git log --format=%H -1 --grep='rollback\|Rollback\|roll back' -- environments/staging)
[ -n "$revert" ] || revert=$(git log --format=%H -1 -- environments/staging)
git revert --no-edit "$revert" >/dev/null
git push -q 2>/dev/null || fail "the revert was not taken"
eventually 20 shows staging 2

step "pins that no gate lets through are held, with the reason"
prod_is_empty() { [ "$(curl -s -o /dev/null -w '%{http_code}' "http://hello.prod.hello.localhost:${gateway##*:}/")" = 404 ] || ! page prod >/dev/null 2>&1; }
gateway=$(trimtab url hello --env dev | sed 's|^http://||; s|/$||')
mkdir -p environments/prod
sed 's/hello-[0-9]*$/hello-99/' environments/staging/hello.yaml >environments/prod/hello.yaml
git add . && git commit -qm "prod: a build that does not exist" && git push -q 2>/dev/null || fail "the push of a held pin is accepted"
eventually 20 sh -c 'trimtab explain hello --env prod | grep -q "hello-99"'
trimtab explain hello --env prod
prod_is_empty || fail "prod serves what was held"
sed -i 's/version 2/version 3/' "$work/hello/public/index.html"
git -C "$work/hello" commit -qam "Version 3" && git -C "$work/hello" push -q trimtab main 2>/dev/null
eventually 20 shows dev 3
git pull -q && cp environments/dev/hello.yaml environments/prod/hello.yaml
git commit -qam "prod: a build that never was in staging" && git push -q 2>/dev/null
eventually 20 sh -c 'trimtab explain hello --env prod | grep -q "has not been healthy in staging"'
trimtab explain hello --env prod
prod_is_empty || fail "prod serves what was held"
git pull -q && git rm -q environments/prod/hello.yaml && git commit -qm "prod: withdrawn" && git push -q 2>/dev/null

step "a suspended environment does not move until that is lifted"
git pull -q && echo 'suspend: true' >>environments/staging.yaml
git commit -qam "staging: suspend" && git push -q 2>/dev/null
eventually 20 sh -c 'trimtab status | grep staging | grep -qi suspended'
trimtab promote hello --to staging --detach
eventually 20 sh -c 'trimtab explain hello --env staging | grep -qi suspend'
shows staging 2 || fail "staging moved while suspended"
git pull -q && sed -i '/^suspend/d' environments/staging.yaml
git commit -qam "staging: go on" && git push -q 2>/dev/null
eventually 20 shows staging 3

step "trimtab status | diff | logs | history | explain | render"
cd "$work/hello"
trimtab status
expect "$(trimtab status)" "staging"
trimtab diff --env staging
trimtab logs hello --env dev
trimtab history
expect "$(trimtab history)" "hello-1 → hello-2"
trimtab explain hello --env prod
mkdir "$work/manifests" && printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: c}\n' >"$work/manifests/a.yaml"
expect "$(trimtab render "$work/manifests")" "kind: ConfigMap"
expect "$(trimtab status --output json)" '"environments"'

step "kill -9 of the control process: the page is still served; up again: the same containers"
if command -v kubectl >/dev/null; then
    started() { k get pods -A -o jsonpath='{range .items[*]}{.metadata.name}|{.metadata.deletionTimestamp}|{.status.containerStatuses[0].state.running.startedAt}{"\n"}{end}' | sort; }
else
    started() { :; }
fi
settled() { ! started | grep -vq '||2'; } # no Pod is on its way in or out
eventually 20 settled
containers=$(started)
history=$(trimtab history --output json)
kill -9 "$up" && wait "$up" 2>/dev/null || true
[ "$(curl -sS --max-time 10 "http://hello.dev.hello.localhost:${gateway##*:}/")" = "Hello from Trimtab, version 3." ] || fail "the page went away with the control process"
up
shows dev 3 || fail "dev shows: $(page dev)"
[ "$(started)" = "$containers" ] || fail "containers changed: before: $containers after: $(started)"
[ "$(trimtab history --output json)" = "$history" ] || fail "history changed"

step "trimtab down: everything stopped and removed, data kept"
data="$HOME/.local/share/trimtab"
trimtab down
eventually 20 sh -c "! kill -0 $up"
left=
for process in /proc/[0-9]*; do
    case $(tr '\0' ' ' 2>/dev/null <"$process/cmdline" || true) in *"$data"*) left="$left $process" ;; esac
done
[ -z "$left" ] || fail "left running:$left"
! grep -q "$data" /proc/mounts || fail "left mounted: $(grep "$data" /proc/mounts)"
[ -d "$data/git" ] || fail "the data is gone"

step "up again, the same pages; down --purge"
up
eventually 30 shows dev 3
eventually 30 shows staging 3
trimtab down --purge --yes
[ ! -e "$data" ] || fail "down --purge left $data"

printf '\nThe story is told.\n'
