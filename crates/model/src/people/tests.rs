use super::*;

fn person(grants: &[(&str, &str, &str)]) -> Person {
    let grant = |(role, project, branches): &(&str, &str, &str)| Grant {
        role: role.parse().unwrap(),
        project: (!project.is_empty()).then(|| project.parse().unwrap()),
        branches: branches.split(',').filter(|b| !b.is_empty()).map(|b| b.parse().unwrap()).collect(),
        environments: Vec::new(),
    };
    Person { name: "alice".into(), grants: grants.iter().map(grant).collect(), read_only: false }
}

fn ask(person: &Person, what: &str) -> Result<(), Denied> {
    let words: Vec<&str> = what.split(' ').collect();
    let repository = |text: &str| {
        let (project, name) = text.split_once('/').unwrap();
        Repository { project: project.parse().unwrap(), name: name.into() }
    };
    let environment = |right, text: &str, production| {
        let (project, environment) = text.split_once('/').unwrap();
        let (project, environment) = (project.parse().unwrap(), environment.parse().unwrap());
        allowed(person, right, &Target::Environment { project: &project, environment: &environment, production })
    };
    match words.as_slice() {
        ["read", project] => allowed(person, Right::Read, &Target::Project(&project.parse().unwrap())),
        ["create", project] => allowed(person, Right::Create, &Target::Project(&project.parse().unwrap())),
        ["write", at] => allowed(person, Right::Write, &Target::Repository(&repository(at))),
        ["write", at, reference] => allowed(person, Right::Write, &Target::Reference(&repository(at), reference)),
        ["promote", at] => environment(Right::Promote, at, at.ends_with("prod")),
        ["rollback", at] => environment(Right::Rollback, at, at.ends_with("prod")),
        ["override", at] => environment(Right::Override, at, at.ends_with("prod")),
        ["suspend", at] => environment(Right::Suspend, at, at.ends_with("prod")),
        ["approve", project] => allowed(person, Right::Approve, &Target::Project(&project.parse().unwrap())),
        ["propose", at] => allowed(person, Right::Propose, &Target::Repository(&repository(at))),
        ["administer"] => allowed(person, Right::Administer, &Target::Instance),
        other => panic!("{other:?}"),
    }
}

const QUESTIONS: [&str; 15] = [
    "read shop",
    "create shop",
    "write shop/web",
    "write shop/web refs/heads/main",
    "write shop/config refs/heads/main",
    "promote shop/dev",
    "promote shop/prod",
    "rollback shop/dev",
    "rollback shop/prod",
    "suspend shop/dev",
    "override shop/dev",
    "approve shop",
    "administer",
    "read other",
    "propose shop/web",
];

#[test]
fn each_role_may_what_it_says_and_no_more() {
    for (role, project, answers) in [
        ("viewer", "", "y............y."),
        ("viewer", "shop", "y.............."),
        ("developer", "", "yyyy.y.y.....yy"),
        ("developer", "shop", "yyyy.y.y......y"),
        ("developer", "other", ".............y."),
        ("operator", "", "yyyyyyyyyyy..yy"),
        ("operator", "shop", "yyyyyyyyyyy...y"),
        ("approver", "", "y..........y.yy"),
        ("admin", "", "yyyyyyyyyyyyyyy"),
        ("admin", "shop", "yyyyyyyyyyyy..y"),
    ] {
        let alice = person(&[(role, project, "")]);
        let given: String = QUESTIONS.iter().map(|what| if ask(&alice, what).is_ok() { 'y' } else { '.' }).collect();
        assert_eq!(given, answers, "{role} in {project:?}");
    }
    assert!(QUESTIONS.iter().all(|what| ask(&person(&[]), what).is_err()), "who has no role may nothing");
    assert!(QUESTIONS.iter().all(|what| ask(&Person::admin("admin"), what).is_ok()));
}

#[test]
fn a_token_that_only_reads_only_reads() {
    let reader = Person { read_only: true, ..Person::admin("alice") };
    for what in QUESTIONS {
        assert_eq!(ask(&reader, what).is_ok(), what.starts_with("read"), "{what}");
    }
    assert!(ask(&reader, "write shop/web").unwrap_err().to_string().contains("only reads"));
    assert_eq!(reader.groups(), ["trimtab:viewer"]);
}

#[test]
fn branches_are_matched_by_pattern() {
    for (patterns, reference, good) in [
        ("", "refs/heads/main", true),
        ("main", "refs/heads/main", true),
        ("main", "refs/heads/maintenance", false),
        ("main", "refs/tags/main", false),
        ("feature/*", "refs/heads/feature/x/y", true),
        ("feature/*", "refs/heads/feature", false),
        ("feature/*,main", "refs/heads/main", true),
        ("*", "refs/heads/anything", true),
        ("*", "refs/tags/v1", false),
        ("refs/tags/v*", "refs/tags/v1", true),
        ("ab*ba", "refs/heads/aba", false),
    ] {
        let alice = person(&[("developer", "shop", patterns)]);
        assert_eq!(ask(&alice, &format!("write shop/web {reference}")).is_ok(), good, "{patterns} {reference}");
    }
    for bad in ["", "a b", "a**", "x*y*z", "a~1"] {
        assert!(bad.parse::<BranchPattern>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_denial_says_which_right_is_missing_and_who_gives_it() {
    let alice = person(&[("viewer", "shop", "")]);
    let text = ask(&alice, "write shop/web refs/heads/main").unwrap_err().to_string();
    for words in [
        "alice may not push to refs/heads/main of shop/web",
        "`write`",
        "developer or operator or admin",
        "viewer in shop",
        "trimtab user add alice --role developer --project shop",
    ] {
        assert!(text.contains(words), "{words:?} is missing in: {text}");
    }
    let limited = person(&[("developer", "shop", "feature/*")]);
    let text = ask(&limited, "write shop/web refs/heads/main").unwrap_err().to_string();
    assert!(text.contains("branches feature/*") && text.contains("branch pattern"), "{text}");
    let text = ask(&alice, "promote shop/prod").unwrap_err().to_string();
    assert!(text.contains("prod of shop, a production environment") && text.contains("--role operator"), "{text}");
}

#[test]
fn a_role_for_some_environments_is_one_there_only() {
    let shop: Project = "shop".parse().unwrap();
    let membership = Membership { role: Role::Operator, environments: vec!["dev".parse().unwrap()] };
    let olga = Person { name: "olga".into(), grants: vec![Grant::of(&shop, &membership)], read_only: false };
    for (what, good) in [
        ("read shop", true),
        ("promote shop/dev", true),
        ("promote shop/prod", false),
        ("suspend shop/dev", true),
        ("suspend shop/prod", false),
        ("write shop/web refs/heads/main", true),
        ("approve shop", false),
        ("read other", false),
    ] {
        assert_eq!(ask(&olga, what).is_ok(), good, "{what}");
    }
    let text = ask(&olga, "promote shop/prod").unwrap_err().to_string();
    assert!(text.contains("for prod too") && text.contains("operator in shop (environments dev)"), "{text}");
    assert_eq!(olga.groups(), ["trimtab:operator:shop:dev"]);
    for (text, good) in [("developer", true), ("nobody", false)] {
        let read: Result<Membership, _> = serde_json::from_value(serde_json::json!(text));
        assert_eq!(read.is_ok(), good, "{text}");
    }
}

#[test]
fn groups_name_role_and_project() {
    let alice = person(&[("developer", "shop", ""), ("viewer", "", ""), ("developer", "shop", "main")]);
    assert_eq!(alice.groups(), ["trimtab:developer:shop", "trimtab:viewer"]);
    assert!(!alice.is_admin() && Person::admin("x").is_admin() && !person(&[("admin", "shop", "")]).is_admin());
}

#[test]
fn names_of_people_are_checked() {
    use crate::names::UserName;
    for (name, good) in [
        ("alice", true),
        ("a.b-c_1", true),
        ("", false),
        ("Alice", false),
        ("1a", false),
        ("a b", false),
        ("admin", false),
        ("system:x", false),
    ] {
        assert_eq!(name.parse::<UserName>().is_ok(), good, "{name:?}");
    }
}
