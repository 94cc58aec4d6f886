use super::*;

/// Everything of a parsed file that cases talk about, one line each.
fn show(source: &str) -> Result<Vec<String>, (usize, String)> {
    let file = parse(source).map_err(|p| (p.line, p.text))?;
    let mut out: Vec<_> =
        file.globals.iter().map(|a| format!("{}: global {}={:?}", a.line, a.name, a.default)).collect();
    for stage in &file.stages {
        out.push(format!("{}: from {} as {:?}", stage.line, stage.base, stage.name));
        out.extend(stage.steps.iter().map(|s| format!("{}: {:?}", s.line, s.instruction)));
    }
    Ok(out)
}

fn check(source: &str, expect: &[&str]) {
    assert_eq!(show(source).unwrap_or_else(|e| panic!("{e:?} in\n{source}")), expect, "in\n{source}");
}

#[test]
fn lines_comments_continuations_and_directives() {
    check(
        "# syntax=docker/dockerfile:1.7\n# escape=`\n\n# note\nARG V=1\nFROM a:$V AS Base\n  run a `\n# inside\n\n    && b `  \n && c\\\nenv A=1\n",
        &[
            "5: global V=Some(\"1\")",
            "6: from a:$V as Some(\"base\")",
            "7: Run(Run { command: Shell(\"a     && b  && c\\\\\"), mounts: [], network: true })",
            "12: Env([(\"A\", \"1\")])",
        ],
    );
    // After a comment, directives are comments; an escaped escape does not continue the line.
    check(
        "# hi\n# escape=`\nFROM a\nRUN x \\\\\nRUN y\r\n",
        &[
            "3: from a as None",
            "4: Run(Run { command: Shell(\"x \\\\\\\\\"), mounts: [], network: true })",
            "5: Run(Run { command: Shell(\"y\"), mounts: [], network: true })",
        ],
    );
    check(
        "FROM a\nRUN x \\",
        &["1: from a as None", "2: Run(Run { command: Shell(\"x\"), mounts: [], network: true })"],
    );
}

#[test]
fn arguments_of_every_instruction() {
    let cases = [
        ("CMD [\"a\", \"b c\"]", "Cmd(Exec([\"a\", \"b c\"]))"),
        ("CMD a $B", "Cmd(Shell(\"a $B\"))"),
        ("ENTRYPOINT [a]", "Entrypoint(Shell(\"[a]\"))"),
        ("ENV A=1 B=\"x y\" C=a\\ b", "Env([(\"A\", \"1\"), (\"B\", \"\\\"x y\\\"\"), (\"C\", \"a\\\\ b\")])"),
        ("ENV A the  rest", "Env([(\"A\", \"the  rest\")])"),
        ("LABEL a.b=c", "Label([(\"a.b\", \"c\")])"),
        (
            "ARG A B=2",
            "Arg([Argument { line: 2, name: \"A\", default: None }, Argument { line: 2, name: \"B\", default: Some(\"2\") }])",
        ),
        ("EXPOSE 80 53/udp", "Expose([\"80\", \"53/udp\"])"),
        ("VOLUME [\"/a\"]", "Volume([\"/a\"])"),
        ("VOLUME /a /b", "Volume([\"/a\", \"/b\"])"),
        ("SHELL [\"/bin/bash\", \"-c\"]", "Shell([\"/bin/bash\", \"-c\"])"),
        ("STOPSIGNAL SIGINT", "StopSignal(\"SIGINT\")"),
        ("MAINTAINER me <a@b>", "Maintainer(\"me <a@b>\")"),
        (
            "HEALTHCHECK --interval=1m30s --retries=3 CMD x",
            "Healthcheck(Healthcheck { test: [\"CMD-SHELL\", \"x\"], interval: Some(90000000000), timeout: None, start_period: None, start_interval: None, retries: Some(3) })",
        ),
        (
            "COPY --from=b --chown=1:2 --chmod=755 --link a b /c/",
            "Copy(Copy { add: false, from: Some(\"b\"), owner: Some(\"1:2\"), mode: Some(\"755\"), sources: [Path(\"a\"), Path(\"b\")], destination: \"/c/\" })",
        ),
        (
            "ADD [\"a b\", \"/c\"]",
            "Copy(Copy { add: true, from: None, owner: None, mode: None, sources: [Path(\"a b\")], destination: \"/c\" })",
        ),
        (
            "COPY <<EOF <<-'B' /d/\nx $A\nEOF\n\ty\n\tB",
            "Copy(Copy { add: false, from: None, owner: None, mode: None, sources: [Text { name: \"EOF\", text: \"x $A\\n\", expand: true }, Text { name: \"B\", text: \"y\\n\", expand: false }], destination: \"/d/\" })",
        ),
        ("RUN <<EOF\na\n# b\nEOF", "Run(Run { command: Shell(\"a\\n# b\\n\"), mounts: [], network: true })"),
        (
            "RUN cat <<EOF > x\na\nEOF",
            "Run(Run { command: Shell(\"cat <<EOF > x\\na\\nEOF\"), mounts: [], network: true })",
        ),
        ("RUN echo $((1<<2)) <<<x", "Run(Run { command: Shell(\"echo $((1<<2)) <<<x\"), mounts: [], network: true })"),
        (
            "RUN --network=none --mount=type=cache,target=/c,id=x,sharing=locked --mount=target=/s,source=a x",
            "Run(Run { command: Shell(\"x\"), mounts: [Mount { target: \"/c\", kind: Cache { id: Some(\"x\"), mode: 493 } }, Mount { target: \"/s\", kind: Bind { from: None, source: \"a\" } }], network: false })",
        ),
    ];
    for (line, expect) in cases {
        check(&format!("FROM a\n{line}\n"), &["1: from a as None", &format!("2: {expect}")]);
    }
}

#[test]
fn mistakes_name_their_line_and_what_to_do() {
    let cases = [
        ("FROM a\n\nCOYP a b", 3, "unknown instruction COYP; did you mean COPY?"),
        ("FROM a\nFLY", 2, "unknown instruction FLY"),
        ("\nRUN x", 2, "RUN must come after FROM"),
        ("# nothing\n", 1, "there is no FROM: an image begins with `FROM <base>`"),
        ("", 1, "there is no FROM: an image begins with `FROM <base>`"),
        ("FROM", 1, "FROM needs arguments"),
        ("FROM a b", 1, "FROM: must be <base>, or <base> AS <name>"),
        ("FROM a AS 1", 1, "FROM: \"1\" cannot be the name of a stage (a letter, then letters, digits, '-', '_', '.')"),
        ("FROM a AS x\nFROM b AS X", 2, "FROM: there is a stage \"x\" already"),
        ("FROM a\nCOPY a", 2, "COPY: needs a source and a destination"),
        (
            "FROM a\nCOPY --parents a b",
            2,
            "COPY: the flag --parents is not supported; there are --from, --chown, --chmod and --link",
        ),
        ("FROM a\nCOPY --from a b", 2, "COPY: --from needs a value: --from=…"),
        (
            "FROM a\nADD https://x/y /y",
            2,
            "ADD: https://x/y: files from elsewhere are not supported; fetch them with RUN, or commit them",
        ),
        ("FROM a\nENV A=1 B", 2, "ENV: B: every word must be NAME=value; quote values with blanks"),
        ("FROM a\nENV A", 2, "ENV: A needs a value: A=…"),
        ("FROM a\nLABEL a=\"b", 2, "LABEL: a quote \" is never closed"),
        ("FROM a\nRUN <<EOF\nx", 2, "the text after <<EOF is never ended by a line EOF"),
        (
            "FROM a\nRUN <<EOF\n#!/bin/x\nEOF",
            2,
            "RUN: with a script of another interpreter must name it: RUN <interpreter> <<EOF",
        ),
        (
            "FROM a\nRUN --mount=type=secret,id=x y",
            2,
            "RUN: --mount=type=secret is not supported; there are cache, bind and tmpfs",
        ),
        (
            "FROM a\nRUN --security=insecure y",
            2,
            "RUN: the flag --security is not supported; there are --mount and --network",
        ),
        (
            "FROM a\nONBUILD RUN x",
            2,
            "ONBUILD: is not supported: write its instruction into the Dockerfile that builds on this image",
        ),
        ("FROM a\nSHELL bash", 2, "SHELL: needs a JSON array: SHELL [\"/bin/sh\", \"-c\"]"),
        ("FROM a\nHEALTHCHECK --interval=5 CMD x", 2, "HEALTHCHECK: \"5\" is not a duration (30s, 1m30s, 500ms)"),
        ("# escape=x\nFROM a", 1, "escape=x: only \\ and ` can be escape characters"),
        (
            "# syntax=me/own:1\nFROM a",
            1,
            "syntax=me/own:1: only the syntax docker/dockerfile:1 is known; remove the line, or build this image elsewhere and name it with `image:`",
        ),
    ];
    for (source, line, text) in cases {
        assert_eq!(show(source), Err((line, text.to_owned())), "in\n{source}");
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    let pieces = [
        "FROM a", "RUN <<", "\\", "\n", "\"", "'", "$", "${", "<<EOF", "--", "=", " ", "COPY", "é", "[", "#", "`", "\t",
    ];
    // Every combination of three pieces, in front of and behind something valid.
    for a in pieces {
        for b in pieces {
            for c in pieces {
                let _ = parse(&format!("{a}{b}{c}"));
                let _ = parse(&format!("FROM x\nENV {a}{b}{c}\nCOPY {a}{b} {c}\nRUN {c}{b}{a}"));
                let _ = words::expand(&format!("{a}{b}{c}"), '\\', &|_| None);
            }
        }
    }
}
