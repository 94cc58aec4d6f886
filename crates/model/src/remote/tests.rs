use super::*;

#[test]
fn repositories_are_named_in_all_the_ways_of_kustomize() {
    for (text, url, path, reference) in [
        ("https://github.com/org/repo", "https://github.com/org/repo", "", ""),
        ("https://github.com/org/repo/a/b?ref=v1", "https://github.com/org/repo", "a/b", "v1"),
        ("https://github.com/org/repo//a/b?version=v1", "https://github.com/org/repo", "a/b", "v1"),
        ("https://github.com/org/repo.git/a?ref=x&version=y", "https://github.com/org/repo.git", "a", "x"),
        ("github.com/org/repo/a", "https://github.com/org/repo", "a", ""),
        ("GitHub.com/org/repo?ref=feature%2Fone", "https://github.com/org/repo", "", "feature/one"),
        ("github.com:org/repo.git//a", "https://github.com/org/repo.git", "a", ""),
        ("git@github.com:org/repo.git//a", "git@github.com:org/repo.git", "a", ""),
        ("git@github.com/org/repo", "git@github.com:org/repo", "", ""),
        ("ssh://git@github.com/org/repo", "git@github.com:org/repo", "", ""),
        ("ssh://github.com/org/repo", "github.com:org/repo", "", ""),
        ("git::https://git.example/org/repo", "https://git.example/org/repo", "", ""),
        ("git::git@git.example:org/repo.git/a", "git@git.example:org/repo.git", "a", ""),
        ("ssh://git@git.example:7999/org/repo.git//a/b/", "ssh://git@git.example:7999/org/repo.git", "a/b", ""),
        ("https://me@dev.example/org/p/_git/repo/a/b?ref=x", "https://me@dev.example/org/p/_git/repo", "a/b", "x"),
        ("https://git.example/a/b/c/repo.git//d", "https://git.example/a/b/c/repo.git", "d", ""),
        ("https://git.example/a/b/c//d", "https://git.example/a/b/c", "d", ""),
        ("file:///srv/repo", "file:///srv/repo", "", ""),
        ("file:///srv/repo//a?ref=x", "file:///srv/repo", "a", "x"),
        ("file:///srv/repo.git/a", "file:///srv/repo.git", "a", ""),
        ("https://git.example:8443/org/repo?ref=a&timeout=5", "https://git.example:8443/org/repo", "", "a"),
    ] {
        let git = Address::parse(text).and_then(|address| address.git().cloned()).unwrap_or_else(|| panic!("{text}"));
        assert_eq!((git.url.as_str(), git.path.as_str(), git.reference.as_str()), (url, path, reference), "{text}");
    }
}

#[test]
fn submodules_are_fetched_unless_the_address_says_otherwise() {
    for (text, submodules) in [
        ("https://h.example/a/b?ref=x", true),
        ("https://h.example/a/b?submodules=false", false),
        ("https://h.example/a/b.git?ref=x&submodules=0", false),
        ("https://h.example/a/b?submodules=true", true),
        ("https://h.example/a/b?submodules=maybe", true),
    ] {
        let address = Address::parse(text).unwrap();
        assert_eq!(address.git().map(|git| git.submodules), Some(submodules), "{text}");
        assert_eq!(address.key().ends_with("&submodules=false"), !submodules, "{text}: {}", address.key());
    }
}

#[test]
fn what_is_no_address_names_a_directory_here() {
    for text in [
        "",
        "a",
        "../base",
        "/abs/path",
        "github.com",
        "github.comx/a/b",
        "git.example/org/repo",
        "a@b",
        "git@host",
        "ssh://git.example/repo",
        "git@host.example:a/b//../c",
        "file://",
        "ftp://host/a/b",
        "oci://r/a//../b",
    ] {
        assert_eq!(Address::parse(text), None, "{text}");
    }
}

#[test]
fn a_web_address_is_a_file_unless_it_says_that_it_is_a_repository() {
    for (text, git) in [
        ("https://host.example/a/b/install.yaml", false),
        ("https://host.example/a/b/raw?ref=x.yaml", true),
        ("https://host.example/a/raw/file.yaml?ref=main", false),
        ("https://github.com/org/repo/releases/download/v1/all.yaml", false),
        ("https://github.com/org/repo", false),
        ("https://github.com/org/repo?ref=v1", true),
        ("https://host.example/all", false),
        ("https://host.example/org/repo.git", true),
    ] {
        let kind = Address::parse(text).map(|address| address.kind);
        assert_eq!(matches!(kind, Some(Kind::Git(_))), git, "{text}: {kind:?}");
        assert!(matches!(kind, Some(Kind::Git(_) | Kind::Web(_))), "{text}: {kind:?}");
    }
}

#[test]
fn artifacts_have_a_path_after_two_slashes() {
    let kind = |text| Address::parse(text).map(|address| (address.path().to_owned(), address.key()));
    assert_eq!(kind("oci://r.example/a/b:1//c/d"), Some(("c/d".into(), "oci r.example/a/b:1".into())));
    assert_eq!(kind("oci://r.example/a"), Some((String::new(), "oci r.example/a".into())));
}

#[test]
fn hosts_are_read_without_users_and_ports() {
    for (text, host) in [
        ("https://me:word@git.example:8443/org/repo", Some("git.example")),
        ("git@git.example:org/repo", Some("git.example")),
        ("ssh://git@git.example:22/org/repo", Some("git.example")),
        ("http://[::1]:80/org/repo", Some("::1")),
        ("oci://r.example:5000/a:1", Some("r.example")),
        ("file:///srv/repo", None),
    ] {
        assert_eq!(Address::parse(text).unwrap_or_else(|| panic!("{text}")).host().as_deref(), host, "{text}");
    }
}

#[test]
fn passwords_are_never_shown() {
    let address = Address::parse("https://me:s3cret@git.example/org/repo.git//a?ref=x").unwrap();
    assert!(address.has_password());
    assert_eq!(address.to_string(), "https://git.example/org/repo.git//a?ref=x");
    assert!(!Address::parse("https://me@git.example/org/repo.git").unwrap().has_password());
    let said = "fatal: unable to access 'https://a:b@c/d/': gone; see ssh://x@y/z and https://plain/@";
    assert_eq!(
        without_passwords(said),
        "fatal: unable to access 'https://c/d/': gone; see ssh://y/z and https://plain/@"
    );
}

#[test]
fn times_are_written_as_numbers_or_durations() {
    for (text, expect) in [
        ("61", Some(61)),
        ("61s", Some(61)),
        ("1m30s", Some(90)),
        ("1.5h", Some(5400)),
        ("500ms", Some(1)),
        ("", None),
        ("s", None),
        ("1", Some(1)),
        ("1x", None),
        ("-1s", None),
    ] {
        assert_eq!(seconds(text), expect, "{text}");
    }
    let timeout = |text| Address::parse(text).and_then(|address| address.git().map(|git| git.timeout_s));
    assert_eq!(timeout("https://h.example/a/b?timeout=99999"), Some(TIMEOUT_MAX_S));
    assert_eq!(timeout("https://h.example/a/b"), Some(TIMEOUT_S));
    assert_eq!(timeout("https://h.example/a/b?timeout=0"), Some(1));
}
