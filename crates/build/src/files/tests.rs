use super::*;
use model::Snapshot;
use model::flow::{File, FileMode, Repository, Revision};
use std::fs;
use std::sync::Arc;

/// `path` → content; `path@` → target of a link; `path*` is executable.
fn snapshot(files: &[(&str, &str)]) -> Snapshot {
    let repository = Repository { project: "shop".parse().unwrap(), name: "web".into() };
    let commit = "91bc000000000000000000000000000000000000".parse().unwrap();
    let file = |(path, content): &(&str, &str)| {
        let mode = match path.chars().last() {
            Some('@') => FileMode::Symlink,
            Some('*') => FileMode::Executable,
            _ => FileMode::Regular,
        };
        (path.trim_end_matches(['@', '*']).to_owned(), File { mode, bytes: content.as_bytes().into() })
    };
    Snapshot { revision: Revision { repository, commit }, files: files.iter().map(file).collect() }
}

fn context(files: &[(&str, &str)]) -> Arc<Memory> {
    Arc::new(Memory::context(&snapshot(files), Path::new(""), &Ignore::default()))
}

/// Lines `path mode uid:gid [content or target]` of a layer.
fn show(layer: Layer<Vec<u8>>) -> Vec<String> {
    let (bytes, _) = layer.finish().unwrap();
    let mut lines = Vec::new();
    for item in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut item = item.unwrap();
        let header = item.header().clone();
        assert_eq!(header.mtime().unwrap(), 0);
        let mut content = String::new();
        item.read_to_string(&mut content).unwrap();
        let (path, target) = (item.path().unwrap().display().to_string(), item.link_name().unwrap());
        let tail = target.map_or(content, |t| format!("-> {}", t.display()));
        let owner = format!("{}:{}", header.uid().unwrap(), header.gid().unwrap());
        lines.push(format!("{path} {:o} {owner} {tail}", header.mode().unwrap()).trim_end().to_owned());
    }
    lines
}

struct Case<'a> {
    sources: &'a [&'a str],
    to: &'a str,
    expect: Result<&'a [&'a str], &'a str>,
}

fn spec(tree: &Arc<Memory>, sources: &[&str], to: &str) -> CopySpec {
    let tree = || -> Arc<dyn Tree> { tree.clone() };
    CopySpec {
        sources: sources.iter().map(|s| (tree(), (*s).to_owned())).collect(),
        destination: normal(to),
        into: to.ends_with('/'),
        owner: None,
        mode: None,
        unpack: false,
    }
}

#[test]
fn copies_land_where_docker_puts_them() {
    let source = context(&[
        ("a.txt", "A"),
        ("b.txt", "B"),
        ("run*", "R"),
        ("dir/c", "C"),
        ("dir/deep/d", "D"),
        ("dir/link@", "c"),
        ("top@", "dir/c"),
        ("loop@", "loop"),
        ("out@", "../../a.txt"),
    ]);
    let target = tempfile::tempdir().unwrap();
    for directory in ["usr/bin", "srv", "other"] {
        fs::create_dir_all(target.path().join(directory)).unwrap();
    }
    fs::write(target.path().join("file"), "x").unwrap();
    std::os::unix::fs::symlink("usr/bin", target.path().join("bin")).unwrap();
    std::os::unix::fs::symlink("/../../srv/./x", target.path().join("evil")).unwrap();
    fs::set_permissions(target.path().join("srv"), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let layers = Layers(vec![target.path().to_owned()]);
    let cases = [
        Case { sources: &["a.txt"], to: "/new", expect: Ok(&["new 644 0:0 A"]) },
        Case { sources: &["a.txt"], to: "/n/e/w", expect: Ok(&["n/ 755 0:0", "n/e/ 755 0:0", "n/e/w 644 0:0 A"]) },
        Case { sources: &["run"], to: "/srv", expect: Ok(&["srv/ 1777 0:0", "srv/run 755 0:0 R"]) },
        Case {
            sources: &["a.txt"],
            to: "/bin/x",
            expect: Ok(&["usr/ 755 0:0", "usr/bin/ 755 0:0", "usr/bin/x 644 0:0 A"]),
        },
        Case { sources: &["a.txt"], to: "/evil", expect: Ok(&["srv/ 1777 0:0", "srv/x 644 0:0 A"]) },
        Case { sources: &["*.txt"], to: "/n/", expect: Ok(&["n/ 755 0:0", "n/a.txt 644 0:0 A", "n/b.txt 644 0:0 B"]) },
        Case {
            sources: &["[a]*", "b.txt"],
            to: "/n/",
            expect: Ok(&["n/ 755 0:0", "n/a.txt 644 0:0 A", "n/b.txt 644 0:0 B"]),
        },
        Case {
            sources: &["dir"],
            to: "/n",
            expect: Ok(&[
                "n/ 755 0:0",
                "n/c 644 0:0 C",
                "n/deep/ 755 0:0",
                "n/deep/d 644 0:0 D",
                "n/link 777 0:0 -> c",
            ]),
        },
        Case { sources: &["d*r/d*"], to: "/n/", expect: Ok(&["n/ 755 0:0", "n/d 644 0:0 D"]) },
        Case { sources: &["top"], to: "/n", expect: Ok(&["n 644 0:0 C"]) },
        Case { sources: &["top"], to: "/n/", expect: Ok(&["n/ 755 0:0", "n/top 644 0:0 C"]) },
        Case { sources: &["../../a.txt"], to: "/n", expect: Ok(&["n 644 0:0 A"]) },
        Case { sources: &["out"], to: "/n", expect: Ok(&["n 644 0:0 A"]) },
        Case {
            sources: &["gone"],
            to: "/n",
            expect: Err("\"gone\" is not there: nothing of this name is in the source, or .dockerignore excludes it"),
        },
        Case {
            sources: &["*.md"],
            to: "/n/",
            expect: Err("nothing matches \"*.md\": no such file is in the source, or .dockerignore excludes it"),
        },
        Case {
            sources: &["a.txt", "b.txt"],
            to: "/n",
            expect: Err(
                "several files are copied, so the destination must be a directory: write it with '/' at its end",
            ),
        },
        Case { sources: &["dir"], to: "/file", expect: Err("/file in the image is not a directory") },
        Case { sources: &["a.txt"], to: "/file/x", expect: Err("/file in the image is not a directory") },
        Case { sources: &["loop"], to: "/n", expect: Err("loop: loop: too many symbolic links") },
        Case { sources: &["[a"], to: "/n", expect: Err("the pattern \"[a\" has a [ without ]") },
    ];
    for case in cases {
        let mut layer = Layer::new(Vec::new());
        let spec = spec(&source, case.sources, case.to);
        let done = copy(&spec, &layers, &mut layer);
        let expect = case.expect.map(|lines| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>());
        let own = format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let lines = |layer| show(layer).into_iter().map(|line| line.replace(&own, "0:0")).collect::<Vec<_>>();
        let found = done.map(|()| lines(layer)).map_err(|e| e.to_string());
        assert_eq!(found, expect.map_err(str::to_owned), "{:?} → {}", case.sources, case.to);
    }
}

#[test]
fn owners_modes_and_archives() {
    let source = context(&[("dir/x", "X"), ("dir/l@", "x")]);
    let mut layer = Layer::new(Vec::new());
    let with = CopySpec { owner: Some((7, 8)), mode: Some(0o750), ..spec(&source, &["dir"], "/n/m") };
    copy(&with, &Layers::default(), &mut layer).unwrap();
    assert_eq!(show(layer), ["n/ 750 7:8", "n/m/ 750 7:8", "n/m/l 777 7:8 -> x", "n/m/x 750 7:8 X"]);

    let mut archive = Layer::new(Vec::new());
    let file = Entry { kind: Kind::File { size: 1 }, uid: 5, ..Entry::directory(0o640) };
    archive.put(Path::new("in/file"), &file, &mut &b"F"[..]).unwrap();
    let (archive, _) = archive.finish().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &archive).unwrap();
    for bytes in [archive.clone(), gzip.finish().unwrap()] {
        let source = Arc::new(Memory::file("a.tar", &bytes));
        let mut layer = Layer::new(Vec::new());
        copy(&CopySpec { unpack: true, ..spec(&source, &["a.tar"], "/d/") }, &Layers::default(), &mut layer).unwrap();
        assert_eq!(show(layer), ["d/ 755 0:0", "d/in/ 755 0:0", "d/in/file 640 5:0 F"]);
    }
    let source = Arc::new(Memory::file("a.xz", b"\xfd7zXZ\0..."));
    let error = copy(
        &CopySpec { unpack: true, ..spec(&source, &["a.xz"], "/d/") },
        &Layers::default(),
        &mut Layer::new(Vec::new()),
    );
    assert!(error.unwrap_err().to_string().contains("use COPY and RUN tar"));
}

#[test]
fn equal_input_has_an_equal_digest_and_any_difference_another() {
    let of = |files: &[(&str, &str)], sources: &[&str]| spec(&context(files), sources, "/").digest().unwrap();
    let base: &[(&str, &str)] = &[("d/a", "1"), ("d/b", "2"), ("e", "3")];
    assert_eq!(of(base, &["d"]), of(&[("d/a", "1"), ("d/b", "2"), ("e", "changed")], &["d"]), "others do not matter");
    let others: [(&[(&str, &str)], &str); 4] = [
        (&[("d/a", "1"), ("d/b", "x")], "d"),
        (&[("d/a*", "1"), ("d/b", "2")], "d"),
        (&[("d/a", "1"), ("d/c", "2")], "d"),
        (&[("d/a", "1"), ("d/b@", "2")], "d"),
    ];
    for (files, source) in others {
        assert_ne!(of(base, &["d"]), of(files, &[source]), "{files:?}");
    }
}

#[test]
fn dockerignore_hides_files() {
    let cases: &[(&str, &[&str])] = &[
        ("", &["a.md", "b.txt", "d/a.md", "d/e/f.txt"]),
        ("*.md", &["b.txt", "d/a.md", "d/e/f.txt"]),
        ("**/*.md", &["b.txt", "d/e/f.txt"]),
        ("d", &["a.md", "b.txt"]),
        ("/d/e/", &["a.md", "b.txt", "d/a.md"]),
        ("d\n!d/e", &["a.md", "b.txt", "d/e/f.txt"]),
        ("# *\n\n  **  \n!?.txt", &["b.txt"]),
        ("d/**/f.txt", &["a.md", "b.txt", "d/a.md"]),
        ("./b.txt", &["a.md", "d/a.md", "d/e/f.txt"]),
    ];
    let files = [("a.md", ""), ("b.txt", ""), ("d/a.md", ""), ("d/e/f.txt", "")];
    for (text, expect) in cases {
        let ignore = Ignore::parse(text).unwrap();
        let seen: Vec<_> = files.iter().map(|(p, _)| *p).filter(|p| !ignore.excludes(Path::new(p))).collect();
        assert_eq!(seen, *expect, "{text:?}");
    }
    assert_eq!(Ignore::parse("ok\n[a").unwrap_err(), (2, "the pattern \"[a\" has a [ without ]".into()));
}

/// Numbers of user and group, further groups, home.
type Found<'a> = (u32, u32, &'a [u32], &'a str);

#[test]
fn users_are_looked_up_in_the_image() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:34:w:/srv:/bin/sh\nbad:x\n")
        .unwrap();
    fs::write(root.path().join("etc/group"), "root:x:0:\nwww:x:34:\nextra:x:50:a,web\n").unwrap();
    let tree = Layers(vec![root.path().to_owned()]);
    let cases: &[(&str, Result<Found<'_>, &str>)] = &[
        ("", Ok((0, 0, &[], "/root"))),
        ("web", Ok((33, 34, &[50], "/srv"))),
        ("33", Ok((33, 34, &[50], "/srv"))),
        ("web:extra", Ok((33, 50, &[], "/srv"))),
        ("1000", Ok((1000, 0, &[], "/"))),
        ("1000:1001", Ok((1000, 1001, &[], "/"))),
        ("nobody", Err("there is no user \"nobody\" in /etc/passwd of the image")),
        ("web:none", Err("there is no group \"none\" in /etc/group of the image")),
        ("bad", Err("the entry of user \"bad\" in /etc/passwd of the image is broken")),
    ];
    for (text, expect) in cases {
        let found = user(&tree, text).map(|u| (u.uid, u.gid, u.groups, u.home));
        let expect = expect.map(|(uid, gid, groups, home)| (uid, gid, groups.to_vec(), home.to_owned()));
        assert_eq!(found, expect.map_err(str::to_owned), "{text:?}");
    }
}

#[test]
fn layers_are_seen_as_overlayfs_shows_them() {
    let (below, above) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (layer, path, text) in [
        (&below, "d/low", "1"),
        (&below, "d/both", "1"),
        (&below, "gone", "1"),
        (&below, "was-dir/x", "1"),
        (&above, "d/high", "2"),
        (&above, "d/both", "2"),
        (&above, "was-dir", "2"),
    ] {
        let path = layer.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let whiteout = rustix::fs::makedev(0, 0);
    let kind = rustix::fs::FileType::CharacterDevice;
    // Without the right to make devices a whiteout cannot be tested; everything else can.
    let made = rustix::fs::mknodat(rustix::fs::CWD, above.path().join("gone"), kind, 0o600.into(), whiteout).is_ok();
    let tree = Layers(vec![above.path().to_owned(), below.path().to_owned()]);
    let names = |path: &str| -> Vec<_> {
        tree.list(Path::new(path)).unwrap().iter().map(|n| n.display().to_string()).collect()
    };
    assert_eq!(names("d"), ["both", "high", "low"]);
    assert_eq!(names(""), if made { vec!["d", "was-dir"] } else { vec!["d", "gone", "was-dir"] });
    let mut text = String::new();
    tree.open(Path::new("d/both")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "2");
    assert_eq!(tree.entry(Path::new("was-dir/x")).unwrap(), None);
    assert!(tree.entry(Path::new("")).unwrap().unwrap().is_directory());
    assert_eq!(tree.entry(Path::new("gone")).unwrap().is_none(), made);

    // What a container leaves in its upper directory becomes a layer that says the same.
    let upper = above.path();
    fs::hard_link(upper.join("d/high"), upper.join("d/link")).unwrap();
    fs::create_dir_all(upper.join("proc")).unwrap();
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/hosts"), "").unwrap();
    let mut layer = Layer::new(Vec::new());
    let stubs = ["proc".into(), "etc/hosts".into()];
    pack_upper(upper, &Layers(vec![below.path().to_owned()]), &stubs, &mut layer).unwrap();
    let owner = format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let expect = [
        format!("d/ 755 {owner}"),
        format!("d/both 644 {owner} 2"),
        format!("d/high 644 {owner} 2"),
        format!("d/link 644 {owner} -> d/high"),
        ".wh.gone 600 0:0".to_owned(),
        format!("was-dir 644 {owner} 2"),
    ];
    assert_eq!(show(layer), expect.into_iter().filter(|l| made || !l.starts_with(".wh")).collect::<Vec<_>>());
}
