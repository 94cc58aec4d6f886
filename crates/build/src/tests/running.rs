//! RUN in real containers.

use super::*;

#[tokio::test]
#[ignore = "root: runs containers"]
async fn run_sees_what_the_stage_says_and_its_writes_become_a_layer() {
    let world = World::new();
    let Some(()) = world.base().await else { return };
    let dockerfile = concat!(
        "FROM registry.trimtab.internal/tests/base:1 AS build\nARG WHO=nobody\nENV GREETING=hello\nWORKDIR /work\nCOPY src.txt .\n",
        "RUN echo \"$GREETING $WHO $PWD\" && cat src.txt > out.txt && echo two >&2\n",
        "RUN rm src.txt && ln out.txt link.txt && mkdir -m 700 private && mknod pipe p\n",
        "SHELL [\"/bin/busybox\", \"sh\", \"-euc\"]\nRUN <<EOF\nid -u > /tmp/id\necho script\nEOF\n",
        "USER web:extra\nRUN [\"/bin/sh\", \"-c\", \"id -u; id -g; echo $HOME\"]\n",
        "FROM registry.trimtab.internal/tests/base:1\nCOPY --from=build --chown=web /work/out.txt /srv/\nCOPY --from=0 /tmp/id /id\nCMD [\"cat\", \"/srv/out.txt\"]\n",
    );
    let mut rule = BuildRule::default();
    rule.args.insert("WHO".into(), "web".into());
    let files = [("Dockerfile", dockerfile), ("src.txt", "content")];
    let built = world.build_with(&files, rule.clone()).await.unwrap();
    let told = world.told.take();
    let output: Vec<_> = told.iter().filter(|line| !line.starts_with("step ")).collect();
    assert_eq!(output.len(), 6, "{output:?}");
    for line in ["hello web /work", "two", "script", "101", "50", "/srv"] {
        assert!(output.iter().any(|o| *o == line), "{line:?} is not in {output:?}");
    }
    assert_eq!(built.read("srv/out.txt").as_deref(), Some("content"));
    assert_eq!(built.read("id").as_deref(), Some("0\n"));
    // Mount points of the container are not in the image.
    for stub in ["proc", "sys", "dev", "etc/resolv.conf", "etc/hosts", "work"] {
        assert_eq!(built.read(stub), None, "{stub}");
    }
    let entry = built.root.tree().entry(Path::new("srv/out.txt")).unwrap().unwrap();
    assert_eq!((entry.uid, entry.gid), (101, 102));

    // The same again: nothing runs. Another source file: what depends on it runs.
    let again = world.build_with(&files, rule.clone()).await.unwrap();
    assert_eq!(again.image, built.image);
    assert_eq!(world.told.take().iter().filter(|l| l.contains(" RUN ") && l.ends_with("(cached)")).count(), 4);
    let edited = world.build_with(&[files[0], ("src.txt", "edited")], rule).await.unwrap();
    assert_eq!(edited.read("srv/out.txt").as_deref(), Some("edited"));
    assert_eq!(world.told.take().iter().filter(|l| l.contains(" RUN ") && l.ends_with("(cached)")).count(), 0);

    let stage = BuildRule { target: Some("build".into()), ..BuildRule::default() };
    let stage = world.build_with(&files, stage).await.unwrap();
    assert_eq!(stage.read("work/src.txt"), None, "rm leaves a whiteout");
    assert_eq!(stage.read("work/link.txt").as_deref(), Some("content"));
    let private = stage.root.tree().entry(Path::new("work/private")).unwrap().unwrap();
    assert_eq!(private.mode, 0o700);
    world.end().await;
}

#[tokio::test]
#[ignore = "root: runs containers"]
async fn a_failing_run_tells_its_place_output_and_exit_code() {
    let world = World::new();
    let Some(()) = world.base().await else { return };
    let cases = [
        (
            "RUN echo one && echo two >&2 && exit 3",
            "Dockerfile:2: RUN echo one && echo two >&2 && exit 3: exit code 3\n",
        ),
        ("RUN [\"nothing\"]", "Dockerfile:2: RUN [\"nothing\"]: "),
        ("RUN sleep 100 & kill -9 $! ; wait $!", "Dockerfile:2: RUN sleep 100 & kill -9 $! ; wait $!: exit code 137"),
        ("USER nobody\nRUN true", "Dockerfile:3: RUN true: "),
        (
            "RUN dd if=/dev/zero of=/dev/null bs=600M count=1",
            "Dockerfile:2: RUN dd if=/dev/zero of=/dev/null bs=600M count=1: out of memory (a RUN may use 256 MiB)",
        ),
    ];
    for (lines, expect) in cases {
        let error = world
            .build(&[("Dockerfile", &format!("FROM registry.trimtab.internal/tests/base:1\n{lines}\n"))])
            .await
            .err();
        let error = error.unwrap_or_else(|| panic!("{lines} was built: {:?}", world.told.take()));
        assert!(error.starts_with(expect), "{error}");
        assert_eq!(world.containers.list().await.unwrap(), []);
    }
    world.end().await;
}

#[tokio::test]
#[ignore = "root: runs containers"]
async fn mounts_of_run() {
    let world = World::new();
    let Some(()) = world.base().await else { return };
    let dockerfile = |mark: &str| {
        format!(
            concat!(
                "FROM registry.trimtab.internal/tests/base:1 AS other\nRUN mkdir /o && echo other > /o/file\nFROM registry.trimtab.internal/tests/base:1\n",
                "RUN --mount=type=cache,target=/cache --mount=target=/ctx,source=sub --mount=from=other,source=/o/file,target=/o/f ",
                "--mount=type=tmpfs,target=/scratch cat /ctx/a /o/f > /all && cat /cache/* >> /all || true; ",
                "echo {} >> /cache/marks; echo x > /ctx/new; echo y > /scratch/y\n"
            ),
            mark
        )
    };
    let first = world.build(&[("Dockerfile", &dockerfile("one")), ("sub/a", "context\n")]).await.unwrap();
    assert_eq!(first.read("all").as_deref(), Some("context\nother\n"));
    for stub in ["cache", "ctx", "o", "scratch"] {
        assert_eq!(first.read(stub), None, "{stub}");
    }
    let second = world.build(&[("Dockerfile", &dockerfile("two")), ("sub/a", "context\n")]).await.unwrap();
    assert_eq!(second.read("all").as_deref(), Some("context\nother\none\n"));
    world.end().await;
}

#[tokio::test]
#[ignore = "root: runs containers"]
async fn dropping_a_build_or_its_timeout_kills_its_container() {
    let world = World::new();
    let Some(()) = world.base().await else { return };
    let files = [("Dockerfile", "FROM registry.trimtab.internal/tests/base:1\nRUN echo begun; sleep 600\n")];
    let mut build = Box::pin(world.build(&files));
    let begin = Instant::now();
    while !world.told.0.lock().unwrap().iter().any(|line| line == "begun") {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", world.told.take());
        tokio::select! {
            _ = &mut build => panic!("it ended: {:?}", world.told.take()),
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
    drop(build);
    // The next build waits until the remains of this one are gone.
    let built = world.build(&[("Dockerfile", "FROM scratch\n")]).await.unwrap();
    assert_eq!(built.root.layers.len(), 0);
    assert_eq!(world.containers.list().await.unwrap(), []);

    let rule = BuildRule { timeout_seconds: 1, ..BuildRule::default() };
    let error = world.builder.image(&request("web-2", &files, rule), &world.told).await.unwrap_err();
    assert_eq!(error.to_string(), "the build did not end within 1 s (build.timeoutSeconds)");
    world.builder.recover().await.unwrap();
    world.end().await;
}

#[tokio::test]
#[ignore = "root: runs containers"]
async fn a_build_may_be_dropped_at_any_point() {
    let world = World::new();
    let Some(()) = world.base().await else { return };
    let files = [("Dockerfile", "FROM registry.trimtab.internal/tests/base:1\nRUN sleep 600\n")];
    // From before its container is begun until after that runs.
    for milliseconds in (0..120).step_by(4) {
        let build = world.build(&files);
        assert!(tokio::time::timeout(Duration::from_millis(milliseconds), build).await.is_err(), "it cannot end");
        drop(world.builder.turn().await);
        assert_eq!(world.containers.list().await.unwrap(), [], "after {milliseconds} ms");
    }
    world.end().await;
}
