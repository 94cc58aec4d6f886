#!/usr/bin/env bash
# Three services from dev over staging to prod: releases, certification, a window, two people, a hotfix through a freeze, a
# configuration change and its rollback, a rotated secret. Every step asserts. Needs git, curl and jq; as root it runs
# containers, else Pods are simulated and their pages are not looked at.
title="RELEASE TRAIN"
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
state() { trimtab status --project train || true; trimtab history --project train || true; }

[ "$(id -u)" = 0 ] || up_options=--simulate
train() { trimtab --project train "$@"; }
as() { local who=$1; shift; TRIMTAB_TOKEN=$(cat "$work/token-$who") train "$@"; }
json() { train "$1" --output json "${@:2}"; }
# What runs: `cart-1 mail-1 web-1`, all healthy and as it was admitted; the label of its release.
runs() {
    json status | jq -er --arg env "$1" '.environments[] | select(.name == $env)
        | select(.error == null and .held == null and all(.components[]; .health == "Healthy" and (.drifted | not)))
        | [.components[].build] | join(" ")'
}
is() { [ "$(runs "$1")" = "$2" ]; }
label() { json status | jq -r --arg env "$1" '.environments[] | select(.name == $env) | .release'; }
commits() { git -C "$work/config" pull -q && git -C "$work/config" rev-list --count HEAD; }
version() { # COMPONENT NUMBER: pushed
    echo "$1 $2" >"$work/$1/public/index.html"
    git -C "$work/$1" commit -qam "$1: version $2" && git -C "$work/$1" push -q trimtab main 2>/dev/null
}
served() { # ENVIRONMENT COMPONENT TEXT, where containers run
    [ -n "${up_options:-}" ] || [ "$(curl -sS --max-time 10 "$(train url "$2" --env "$1")")" = "$3" ] ||
        fail "$1 serves: $(curl -sS --max-time 10 "$(train url "$2" --env "$1")")"
}
refused() { # WORDS COMMAND…: it ends with 4 and says the words
    local words=$1 said code=0; shift
    said=$("$@" 2>&1) || code=$?
    [ $code = 4 ] || fail "exit $code and not 4: $* said: $said"
    expect "$said" "$words"
    said_last=$said
}
in_seconds() { date -u -d "+$1 seconds" +%Y-%m-%dT%H:%M:%S; }
# The Kubernetes API, without kubectl.
api() { curl -sSk --max-time 10 --fail -H @"$work/authorization" "$server$1"; }
secret() { api "/api/v1/namespaces/train-$1/secrets/cart-db" | jq -r '.data.PASSWORD | @base64d'; }
level() { # ENVIRONMENT COMPONENT: LEVEL as its Deployment refers to it
    local name; name=$(api "/apis/apps/v1/namespaces/train-$1/deployments/$2" |
        jq -r '.spec.template.spec.containers[0].envFrom[] | .configMapRef.name // empty')
    api "/api/v1/namespaces/train-$1/configmaps/$name" | jq -r .data.LEVEL
}

step "two people, and rules for prod: certified, approved by somebody else, in a window"
start up trimtab
for one in cart mail web; do
    cp -r "$examples/release-train/$one" "$work/$one" && cd "$work/$one"
    git init -q -b main && identity && git add -A && git commit -qm "$one: version 1"
    trimtab init >/dev/null
done
trimtab user add ada --role operator >/dev/null && trimtab token create --user ada >"$work/token-ada" 2>/dev/null
trimtab user add olga --role approver >/dev/null && trimtab token create --user olga >"$work/token-olga" 2>/dev/null
trimtab kubeconfig >"$work/kubeconfig"
server=$(sed -n 's/^ *server: *//p' "$work/kubeconfig" | tr -d '"')
(umask 077 && sed -n 's/^ *token: *\(.*\)$/Authorization: Bearer \1/p' "$work/kubeconfig" | tr -d '"' >"$work/authorization")
clone_config
cd "$work/config"
cat >environments/prod.yaml <<'RULES'
production: true
promotion:
  from: [staging]
  strategy: Manual
  requires: {certified: true, checks: [smoke]}
  approvals: {count: 1}
RULES
git commit -qam "prod: rules" && git push -q 2>/dev/null
as ada config set common LEVEL=info >/dev/null
# Said before anything is deployed: prod has no password.
for env in dev staging; do echo "first-$env" | as ada secret set db PASSWORD --env $env >/dev/null; done

step "three services in dev; what prod lacks is said"
for one in cart mail web; do git -C "$work/$one" push -q trimtab main 2>/dev/null; done
eventually 60 is dev "cart-1 mail-1 web-1"
expect "$(train explain cart --env prod)" "trimtab secret set db PASSWORD --env prod"
echo first-prod | as ada secret set db PASSWORD --env prod >/dev/null
served dev web "web 1"

step "release 1.0.0: a signed tag; atomic in staging, by one commit"
as ada release create 1.0.0 --from dev
before=$(commits)
as ada promote 1.0.0 --to staging
eventually 60 is staging "cart-1 mail-1 web-1"
[ "$(commits)" -eq $((before + 1)) ] || fail "a release moves by one commit"
refused "exists already" as ada release create 1.0.0 --from dev

step "prod waits: a check, a certificate, a second person, a window"
train window add train --from "$(in_seconds 3600)" --to "$(in_seconds 7200)" --env prod
refused "check smoke of 1.0.0 has not passed in staging" as ada promote 1.0.0 --to prod
expect "$said_last" "window train opens at"
expect "$said_last" "0 of 1 approvals"
as ada check smoke 1.0.0 --env staging --passed --reason "https://ci.example.com/42"
eventually 20 sh -c "trimtab --project train history --env staging | grep -q '1.0.0 is certified'"
refused "approve" as ada approve prod-1.0.0-1
as olga approve prod-1.0.0-1 --reason "looked at it"
refused "window train opens at" as ada promote 1.0.0 --to prod
is prod "" || fail "prod moved before its window"

step "the window opens, and the train leaves by itself"
cd "$work/config" && git pull -q
opens=$(in_seconds 3)
sed -i "s/^\( *from:\).*/\1 $opens/" windows.yaml && git commit -qam "windows: earlier" && git push -q 2>/dev/null
# An approval binds the gates, and these have changed: it is given anew.
aboard() { as olga approve prod-1.0.0-2 || true; is prod "cart-1 mail-1 web-1"; }
eventually 60 aboard
[ "$(in_seconds 0)" \< "$opens" ] && fail "it left before the window opened"
[ "$(label prod)" = 1.0.0 ] || fail "prod runs $(label prod)"
served prod web "web 1"
train window list

step "a freeze; a hotfix goes through it, with a reason that stays"
train window add freeze --deny --from "$(in_seconds -60)" --to "$(in_seconds 3000)" --env prod
version web 2
eventually 60 is dev "cart-1 mail-1 web-2"
as ada promote web --to staging
[ "$(label staging)" = "1.0.0 + web-2" ] || fail "staging runs $(label staging)"
refused "takes certified releases only" as ada promote web --to prod
as ada release create 1.0.1 --from staging
as ada promote 1.0.1 --to staging
as ada check smoke 1.0.1 --env staging --passed
eventually 20 sh -c "trimtab --project train history --env staging | grep -q '1.0.1 is certified'"
refused "freeze" as ada promote 1.0.1 --to prod
as ada promote 1.0.1 --to prod --override "checkout is down, INC-7"
eventually 60 is prod "cart-1 mail-1 web-2"
served prod web "web 2"
expect "$(train history --env prod)" "gates were overridden: checkout is down, INC-7"
diff=$(train diff 1.0.0 1.0.1)
expect "$diff" "web: web-1 → web-2"
expect "$diff" "Ada: web: version 2"
case $diff in *cart*) fail "cart did not change: $diff" ;; esac

step "a configuration change: without a build, the same way; and its rollback"
builds=$(json status | jq -c '[.environments[] | .components[].build] | unique')
as ada config set common LEVEL=debug >/dev/null
configured() { [ "$(level dev cart)" = debug ] && [ "$(level dev web)" = debug ] && is dev "cart-1 mail-1 web-2"; }
eventually 60 configured
eventually 20 sh -c "trimtab --project train history --env dev -n 4 | grep -c 'is healthy' | grep -q 2"
as ada release create 1.1.0 --from dev
as ada promote 1.1.0 --to staging
[ "$(level staging cart)" = debug ] || fail "staging has LEVEL=$(level staging cart)"
as ada check smoke 1.1.0 --env staging --passed
eventually 20 sh -c "trimtab --project train history --env staging | grep -q '1.1.0 is certified'"
as ada promote 1.1.0 --to prod --override "the train of the day"
[ "$(level prod cart)" = debug ] || fail "prod has LEVEL=$(level prod cart)"
expect "$(train diff 1.0.1 1.1.0)" 'data.LEVEL: "info" → "debug"'
before=$(commits)
as ada rollback --env prod --reason "too chatty"
[ "$(level prod cart)" = info ] || fail "prod has LEVEL=$(level prod cart)"
[ "$(label prod)" = 1.0.1 ] || fail "prod runs $(label prod)"
[ "$(commits)" -eq $((before + 1)) ] || fail "a rollback is one commit"
[ "$(json status | jq -c '[.environments[] | .components[].build] | unique')" = "$builds" ] || fail "something was built"

step "a rotated secret rolls who uses it, and no rollback brings the old one back"
[ "$(secret prod)" = first-prod ] || fail "prod has another password"
rolled() { api "/apis/apps/v1/namespaces/train-prod/deployments/$1" | jq -r .metadata.generation; }
cart=$(rolled cart) mail=$(rolled mail)
echo second-prod | as ada secret rotate db PASSWORD --env prod >/dev/null
eventually 60 sh -c "[ \"\$(curl -sSk -H @$work/authorization $server/apis/apps/v1/namespaces/train-prod/deployments/cart | jq -r .metadata.generation)\" -gt $cart ]"
eventually 60 is prod "cart-1 mail-1 web-2"
[ "$(secret prod)" = second-prod ] || fail "prod has the old password"
[ "$(rolled mail)" = "$mail" ] || fail "mail was rolled, and uses no secret"
as ada rollback --env prod --to 1.0.0
eventually 60 is prod "cart-1 mail-1 web-1"
[ "$(secret prod)" = second-prod ] || fail "a rollback brought the old password back"
served prod web "web 1"

step "what happened: whole, signed, and without a secret in it"
train history --env prod --deployments
train release list
expect "$(train audit verify)" "signed, whole and in order"
git -C "$work/config" pull -q && git -C "$work/config" fetch -q origin '+refs/trimtab/journal:refs/trimtab/journal'
train audit verify --repository "$work/config"
past=$(train history --env prod --deployments --output json | jq -r 'map(select(.change == "1.0.0"))[-1].at')
expect "$(train at prod "$past")" "release 1.0.0"
shown=$(json status; json history -n 1000; json release list; train audit export; git -C "$work/config" log -p --all; cat "$work/up.log")
for value in first-dev first-staging first-prod second-prod "$(cat "$work/token-ada")"; do
    case $shown in *"$value"*) fail "a secret is shown: $value" ;; esac
done

trimtab down --purge --yes
printf '\nRELEASE TRAIN: all steps passed.\n'
