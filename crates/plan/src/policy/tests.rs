use super::*;
use model::policy::PolicyRule;
use proptest::prelude::*;

fn file(text: &str) -> PolicyFile {
    yaml::from_str(text, "policies/it.yaml").unwrap()
}

fn policy(text: &str) -> Policy {
    Policy::compile("it", &file(text)).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes:?}"))
}

fn rule(expression: &str) -> PolicyFile {
    let rules = vec![PolicyRule { expression: expression.to_owned(), message: None, message_expression: None }];
    PolicyFile { rules, ..file("rules: []") }
}

fn deployment(container: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "shop-prod" },
        "spec": { "replicas": 2, "template": { "spec": { "containers": [container] } } },
    })
}

struct World {
    production: bool,
    object: Option<Value>,
    before: Option<Value>,
    operation: Action,
    signed: bool,
    actor: &'static str,
    release: Option<&'static str>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            production: true,
            object: Some(deployment(json!({ "name": "web", "image": "registry.trimtab.internal/shop/web@sha256:00" }))),
            before: None,
            operation: Action::Create,
            signed: false,
            actor: "ada",
            release: None,
        }
    }
}

fn told(world: &World, policies: &[Policy]) -> Vec<PolicyResult> {
    let (project, environment, component) = ("shop".parse().unwrap(), "prod".parse().unwrap(), "web".parse().unwrap());
    let plan = model::Plan {
        project: "shop".parse().unwrap(),
        environment: "prod".parse().unwrap(),
        commit: "a".repeat(40).parse().unwrap(),
        steps: Vec::new(),
    };
    let place = Place {
        project: &project,
        environment: &environment,
        production: world.production,
        groups: vec!["europe"],
        plan: Some(&plan),
    };
    let part = Part {
        component: Some(&component),
        build: json!({ "name": "web-1", "number": 1, "commit": "abcdef", "shortCommit": "abc", "pushedBy": "ada" }),
        release: world.release.map(str::to_owned),
        actor: world.actor.to_owned(),
        signed: world.signed,
        items: vec![Item { object: world.object.as_ref(), before: world.before.as_ref(), operation: world.operation }],
    };
    judge(policies, &place, &[part])
}

fn messages(world: &World, text: &str) -> Vec<String> {
    told(world, &[policy(text)]).into_iter().map(|result| result.message).collect()
}

#[test]
fn rules_ask_about_everything_that_is_known() {
    for (expression, holds) in [
        ("object.spec.replicas == 2", true),
        ("object.spec.replicas > 2", false),
        ("before == null", true),
        ("operation == 'create'", true),
        ("images == ['registry.trimtab.internal/shop/web@sha256:00']", true),
        ("project == 'shop' && component == 'web'", true),
        ("environment.name == 'prod' && environment.production && 'europe' in environment.groups", true),
        ("release == null", true),
        ("build.number == 1 && build.pushedBy == 'ada'", true),
        ("actor == 'bob'", false),
        ("signed", false),
        ("plan.delete == 0 && plan.steps.size() == 0", true),
        ("object.spec.template.spec.containers.all(c, has(c.image))", true),
        ("object.metadata.name.matches('^w.b$')", true),
        ("object.metadata.name.matches('^x')", false),
        ("object.?spec.?paused.orValue(false) == false", true),
        ("type(object) == map", true),
    ] {
        let policy = Policy::compile("it", &rule(expression)).unwrap();
        let told = told(&World::default(), &[policy]);
        assert_eq!(told.is_empty(), holds, "{expression}: {told:?}");
        if let [one] = &told[..] {
            assert_eq!(one.message, format!("must hold: {expression}"));
        }
    }
}

#[test]
fn what_breaks_a_policy_is_told_with_object_and_message() {
    let text = "action: deny\nmatch: {kinds: [Deployment.apps]}\nvariables:\n- {name: n, expression: object.spec.replicas}\n- {name: twice, expression: variables.n * 2}\nrules:\n- expression: variables.twice < 4\n  messageExpression: '\"has \" + string(variables.n) + \" replicas\"'\n- {expression: variables.n < 2, message: too many}\n";
    let told = told(&World::default(), &[policy(text)]);
    let lines: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "policy it: Deployment.apps shop-prod/web: has 2 replicas",
            "policy it: Deployment.apps shop-prod/web: too many"
        ]
    );
    assert!(told.iter().all(|one| one.action == PolicyAction::Deny));
}

#[test]
fn a_policy_holds_where_it_says_only() {
    for (matches, holds) in [
        ("{}", true),
        ("{environments: [prod]}", true),
        ("{environments: [dev]}", false),
        ("{production: false}", false),
        ("{components: [web, api]}", true),
        ("{components: [api]}", false),
        ("{kinds: [Deployment]}", true),
        ("{kinds: [Deployment.batch]}", false),
        ("{kinds: [Job]}", false),
    ] {
        for rule in ["false", "object == null", "images.size() == 0"] {
            let text = format!("match: {matches}\nrules: [{{expression: {rule:?}}}]\n");
            assert_eq!(messages(&World::default(), &text).len(), usize::from(holds), "{matches} {rule}");
        }
    }
}

#[test]
fn what_goes_is_judged_by_rules_that_ask_what_happens() {
    let goes = World { before: World::default().object, object: None, operation: Action::Delete, ..World::default() };
    assert_eq!(messages(&goes, "rules: [{expression: object.spec.replicas > 5}]"), [""; 0]);
    let text = "rules: [{expression: operation != 'delete' || before.kind != 'Deployment', message: stays}]";
    assert_eq!(messages(&goes, text), ["stays"]);
}

#[test]
fn what_cannot_be_judged_breaks_the_policy() {
    let world = World::default();
    for (text, message) in [
        ("rules: [{expression: object.spec.strategy.type == 'x'}]", "cannot be judged: No such key: strategy"),
        ("rules: [{expression: object.spec.replicas}]", "a rule must be true or false"),
        (
            "variables: [{name: a, expression: object.nothing}]\nrules: [{expression: variables.a == 1}]",
            "cannot be judged: variables.a: No such key: nothing",
        ),
    ] {
        let told = messages(&world, text);
        assert!(told.len() == 1 && told[0].starts_with(message), "{text}: {told:?}");
    }
}

#[test]
fn a_policy_that_does_not_compile_says_where() {
    for (text, field, line, column, message) in [
        ("rules: [{expression: 'object.spec &&'}]", "rules[0].expression", 1, 15, "Syntax error"),
        ("rules: [{expression: \"true\\n  && objekt.x == 1\"}]", "rules[0].expression", 2, 6, "there is no objekt"),
        (
            "rules: [{expression: true}, {expression: lower('x') == 'x'}]",
            "rules[1].expression",
            1,
            6,
            "there is no function lower",
        ),
        ("rules: [{expression: variables.x == 1}]", "rules[0].expression", 1, 10, "there is no variable x"),
        (
            "variables: [{name: a, expression: variables.b}, {name: b, expression: '1'}]\nrules: [{expression: true}]",
            "variables[0].expression",
            1,
            10,
            "there is no variable b before this",
        ),
        (
            "variables: [{name: a b, expression: '1'}]\nrules: [{expression: true}]",
            "variables[0].name",
            0,
            0,
            "is no name",
        ),
        ("rules: []", "rules", 0, 0, "there must be one"),
        ("kind: Pod\nrules: [{expression: true}]", "kind", 0, 0, "must be Policy"),
        ("apiVersion: v1\nrules: [{expression: true}]", "apiVersion", 0, 0, "must be trimtab.dev/v1alpha1"),
        ("rules: [{expression: ''}]", "rules[0].expression", 1, 1, "it is empty"),
        ("action: requireApproval\nrules: [{expression: plan.delete == 0}]", "action", 0, 0, "before there is a plan"),
    ] {
        let mistakes = Policy::compile("it", &file(text)).expect_err(text);
        let one = &mistakes[0];
        assert_eq!((one.field.as_str(), one.line, one.column), (field, line, column), "{text}: {one:?}");
        assert!(one.message.contains(message), "{text}: {one:?}");
    }
}

#[test]
fn a_policy_that_runs_too_long_is_a_refusal_and_no_hang() {
    let hundred = format!("[{}]", (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    let loops = |body: &str| {
        (0..5).fold(body.to_owned(), |inner, n| format!("{{}}.all(x{n}, {inner})").replace("{}", "variables.l"))
    };
    let double = |first: &str, step: &str| {
        let mut text = format!("variables:\n- {{name: v0, expression: {first:?}}}\n");
        for n in 1..32 {
            let expression = step.replace('$', &format!("variables.v{}", n - 1));
            text.push_str(&format!("- {{name: v{n}, expression: {expression:?}}}\n"));
        }
        text + "rules: [{expression: size(variables.v31) == 0}]\n"
    };
    let list = format!("variables: [{{name: l, expression: {hundred:?}}}]\n");
    let cases = [
        format!("{list}rules: [{{expression: {:?}}}]", loops("true")),
        format!("{list}rules: [{{expression: {:?}}}]", format!("{} || true", loops("x0 + x1 >= 0"))),
        format!(
            "{list}rules: [{{expression: {:?}}}]",
            loops("x0 > -1").replace("all", "map").to_string() + ".size() == 0"
        ),
        format!("{list}rules: [{{expression: {:?}}}]", loops("x0 > -1").replace("all", "exists_one")),
        format!("{list}rules: [{{expression: {:?}}}]", loops("'aaaa'.matches('(a{1,50}){1,50}')")),
        double("'0123456789012345678901234567890123456789'", "$ + $"),
        double("[1, 2]", "$ + $"),
        double("[1, 2]", "[$, $, $, $]"),
        double("{'a': 1}", "{'a': $, 'b': $}"),
        double("[1, 2]", "$.map(x, $)"),
    ];
    for text in cases {
        let told = messages(&World::default(), &text);
        assert_eq!(told, ["it runs too long: simplify its rules"], "{text}");
    }
}

#[test]
fn an_ordinary_policy_over_many_objects_does_not_run_too_long() {
    let objects: Vec<Value> = (0..500)
        .map(|n| {
            let mut object = World::default().object.unwrap();
            object["metadata"]["name"] = json!(format!("web-{n}"));
            object
        })
        .collect();
    let (project, environment, component) = ("shop".parse().unwrap(), "prod".parse().unwrap(), "web".parse().unwrap());
    let place =
        Place { project: &project, environment: &environment, production: true, groups: Vec::new(), plan: None };
    let items = objects.iter().map(|object| Item { object: Some(object), before: None, operation: Action::Create });
    let part = Part {
        component: Some(&component),
        build: Value::Null,
        release: None,
        actor: String::new(),
        signed: true,
        items: items.collect(),
    };
    let starter: Vec<Policy> = STARTER.iter().map(|(name, text)| Policy::compile(name, &file(text)).unwrap()).collect();
    let told = judge(&starter, &place, &[part]);
    assert!(
        told.iter().all(|one| one.policy == "limits-set" && one.message.starts_with("no limit of memory")),
        "{told:?}"
    );
    assert_eq!(told.len(), TOLD_MAX);
}

#[test]
fn the_starter_policies_find_what_they_are_for() {
    let starter: Vec<Policy> = STARTER
        .iter()
        .map(|(name, text)| Policy::compile(name, &file(text)).unwrap_or_else(|wrong| panic!("{name}: {wrong:?}")))
        .collect();
    let good = json!({ "name": "web", "image": "registry.trimtab.internal/shop/web@sha256:00", "resources": { "limits": { "memory": "64Mi" } } });
    let world = |change: &dyn Fn(&mut Value)| {
        let mut container = good.clone();
        change(&mut container);
        World { object: Some(deployment(container)), signed: true, ..World::default() }
    };
    let broken = |world: &World| -> Vec<String> {
        told(world, &starter).iter().map(|one| format!("{} {}: {}", one.action, one.policy, one.message)).collect()
    };
    assert_eq!(broken(&world(&|_| {})), [""; 0]);
    assert_eq!(
        broken(&world(&|c| drop(c.as_object_mut().unwrap().remove("resources")))),
        ["warn limits-set: no limit of memory: web (workload.resources.memory in trimtab.yaml)"]
    );
    for (image, latest) in [
        ("nginx", true),
        ("nginx:latest", true),
        ("host:5000/nginx", true),
        ("host:5000/nginx:1.27", false),
        ("nginx@sha256:00", false),
    ] {
        let told = broken(&world(&|c| c["image"] = json!(image)));
        assert_eq!(told.iter().any(|line| line.starts_with("deny no-latest-tag")), latest, "{image}: {told:?}");
        assert!(told.iter().any(|line| line.starts_with("warn trusted-registries")), "{image}: {told:?}");
    }
    assert_eq!(
        broken(&world(&|c| c["securityContext"] = json!({ "privileged": true }))),
        ["deny no-privileged: a container is privileged"]
    );
    let shares = {
        let mut world = world(&|_| {});
        world.object.as_mut().unwrap()["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
        world
    };
    assert_eq!(broken(&shares), ["deny no-privileged: it shares a namespace of the machine"]);
    assert_eq!(broken(&World { production: false, ..shares }), [""; 0]);
    let unsigned = World { signed: false, ..world(&|_| {}) };
    assert_eq!(broken(&unsigned), ["requireApproval signed-commits: commit abc is not signed by anybody who is known"]);
}

#[test]
fn deep_and_long_expressions_are_refused() {
    for text in [
        "(".repeat(2000),
        "[".repeat(2000),
        format!("{}1", "1+".repeat(2000)),
        format!("object{}", ".a".repeat(2000)),
        format!("{}true", "true?".repeat(800)),
        format!("{}1{}", "(".repeat(200), ")".repeat(200)),
        format!("{}1{}", "[".repeat(90), "]".repeat(90)),
        "a".repeat(5000),
    ] {
        let refused = Policy::compile("it", &rule(&text));
        assert!(refused.is_err(), "{} …", &text[..20]);
    }
    // Signs that undo each other are no depth.
    assert!(Policy::compile("it", &rule(&("!".repeat(2000) + "true"))).is_ok());
    let chain = format!("{}true", "true && ".repeat(200));
    assert_eq!(told(&World::default(), &[Policy::compile("it", &rule(&chain)).unwrap()]), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_text_makes_it_panic(text in "[-a-z0-9.()\\[\\]{}?:!&|+*/%<>='\"\\\\ ,\n]{0,60}") {
        if let Ok(policy) = Policy::compile("it", &rule(&text)) {
            told(&World::default(), &[policy]);
        }
    }

    #[test]
    fn no_expression_makes_it_panic(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "object", ".spec", ".replicas", "images", "(", ")", "[", "]", "{", "}", "0", "1", "-1", "9223372036854775807", "1.5", "'a'", "null",
            "true", "&&", "||", "!", "-", "+", "/", "%", "==", "<", " in ", "?", ":", ",", ".all(x, ", ".map(x, ", "x", "size(", "has(", "int(", "string(", ".matches(", ".?a", "1u", "b'a'",
        ]), 1..12)) {
        if let Ok(policy) = Policy::compile("it", &rule(&words.concat())) {
            told(&World::default(), &[policy]);
        }
    }
}
