# What the lines of a transcript may use. They run in ~/shop; what they define ends with them.

# A component with a page that says its name and version.
component() { # NAME [MORE LINES OF trimtab.yaml]
    mkdir -p ~/shop/"$1"/public
    cd ~/shop/"$1" || return
    printf 'FROM trimtab/static\nCOPY public /srv\n' >Dockerfile
    printf 'project: shop\ncomponent: %s\nendpoints:\n  http:\n    port: 8080\n    visibility: public\n%s' "$1" "${2:-}" >trimtab.yaml
    echo "$1 1" >public/index.html
    git init -q -b main && git config user.name "${3:-Ada}" && git config user.email ada@example.com
    git add -A && git commit -qm "$1: version 1"
    trimtab init >/dev/null && git push -q trimtab main 2>/dev/null
    cd ~/shop || return
}

# A new version of a component, pushed.
push() { # NAME VERSION
    echo "$1 $2" >~/shop/"$1"/public/index.html
    git -C ~/shop/"$1" commit -qam "$1: version $2" && git -C ~/shop/"$1" push -q trimtab main 2>/dev/null
}

person() { # NAME ROLE
    trimtab user add "$1" --role "$2" >/dev/null && trimtab token create --user "$1" 2>/dev/null >~/token-"$1"
}
as() { # NAME COMMAND…
    local name=$1; shift
    TRIMTAB_USER=$name TRIMTAB_TOKEN=$(cat ~/token-"$name") "$@"
}

# The config repository, cloned or at its head; `commit` pushes what was changed in it.
config() {
    [ -d ~/config ] || git clone -q "$(trimtab url --config --project shop)" ~/config -c "credential.helper=!trimtab credential"
    cd ~/config && git config user.name Ada && git config user.email ada@example.com && git pull -q --ff-only
}
commit() { git add -A && git commit -qm "$1" && git "${asked[@]}" -c "credential.helper=$(helper)" push -q 2>&1; }
asked=(-c credential.helper=)
helper() { # git asks as whoever `as` names
    [ -z "${TRIMTAB_USER:-}" ] && echo '!trimtab credential' || echo '!f() { echo username=$TRIMTAB_USER; echo password=$TRIMTAB_TOKEN; }; f'
}
# The config repository of an environment that has its own, likewise.
own() { # ENVIRONMENT
    [ -d ~/own-"$1" ] || git clone -q "$(trimtab url --config --env "$1" --project shop)" ~/own-"$1" -c "credential.helper=!trimtab credential"
    cd ~/own-"$1" && git config user.name Ada && git config user.email ada@example.com && git pull -q --ff-only
}
# Proposes what stands here; prints what Trimtab says to that.
propose() { # [OPTIONS OF git push] REMOTE
    git push "${@:1:$#-1}" "${@: -1}" HEAD:refs/for/main 2>&1 | sed -n 's/^remote: //p' | sed 's/ *$//'
}
kube() { trimtab kubeconfig >~/kubeconfig; kubectl --kubeconfig ~/kubeconfig "$@" 2>&1; }

# What runs in an environment: builds, healthy, in one line.
runs() { # ENVIRONMENT
    trimtab status --output json --project shop | jq -r --arg env "$1" '.environments[] | select(.name == $env)
        | [.components[] | .build + (if .health == "Healthy" then "" else " " + .health end)] | join(", ")'
}
is() { [ "$(runs "$1")" = "$2" ]; } # ENVIRONMENT BUILDS

# Waits, for what happens by itself.
until_is() { # ENVIRONMENT BUILDS
    for _ in $(seq 200); do is "$1" "$2" && return; sleep 0.2; done
    echo "$1 runs $(runs "$1"), not $2"; return 1
}

given_shop() {
    mkdir -p ~/shop && component api && component web $'dependsOn:\n- component: api\n' && person alice operator &&
        person olga approver && until_is dev "api-1, web-1"
}
