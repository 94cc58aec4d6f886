//! Templates as Go's engine parses and runs them.

use proptest::prelude::*;
use template::{Entries, Exec, Library, Limits, Value, parse};

fn run(text: &str) -> Result<String, String> {
    let parsed = parse("t", &text.into(), &|name| Exec::functions(&[]).get(name).copied())?;
    let mut library = Library::new(&[]);
    library.add(&parsed);
    let data = Entries::from([
        ("text".into(), "x".into()),
        ("list".into(), Value::list(vec![Value::Float(1.0), Value::Nil, "b".into()])),
        ("map".into(), Value::map(Entries::from([("k".into(), Value::Float(2e6))]))),
        ("none".into(), Value::Nil),
    ]);
    let limits = Limits { steps: 100_000, bytes: 1 << 20, containers: 1000, depth: 200 };
    Exec::new(&library, &(), limits).run("t", Value::map(data)).map_err(|fault| fault.to_string())
}

#[test]
fn texts_that_templates_write() {
    let cases = [
        ("a{{- 1 -}} b", "a1b"),
        ("a {{- /* comment */ -}} b", "ab"),
        ("{{ .text }}{{ $.text }}{{ .none }}", "xx<no value>"),
        ("{{ $x := 1 }}{{ $x = 2 }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 5 }}{{ end }}{{ $x }}", "1"),
        ("{{ $x := 1 }}{{ $x := print $x 2 }}{{ $x }}", "1 2"),
        ("{{ range $i, $e := .list }}{{ $i }}={{ $e }};{{ end }}", "0=1;1=<no value>;2=b;"),
        ("{{ range .none }}a{{ else }}b{{ end }}", "b"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range .list }}{{ if eq . nil }}{{ continue }}{{ end }}{{ . }}{{ end }}", "1b"),
        ("{{ range .list }}{{ break }}{{ end }}", ""),
        ("{{ with .none }}a{{ else with .text }}{{ . }}{{ end }}", "x"),
        ("{{ define \"d\" }}[{{ . }}]{{ end }}{{ template \"d\" .text }}{{ template \"d\" }}", "[x][<no value>]"),
        ("{{ block \"b\" .map }}{{ .k }}{{ end }}", "2e+06"),
        ("{{ (.none).deeper.still }}", "<no value>"),
        ("{{ .missing }}{{ .map.missing }}", "<no value><no value>"),
        ("{{ and 1 0 .none.x }}{{ or 0 2 .none.x }}", "02"),
        ("{{ \"a\\x41\\u00e9\\n\" }}{{ `b\\n` }}{{ 'a' }}{{ 0x1F }}{{ 1e3 }}{{ 017 }}", "aAé\nb\\n9731100015"),
        (
            "{{ printf \"%05d|%-4s|%q|%6.2f|%v|%T\" 42 \"a\" \"b\" 3.14159 .list 1 }}",
            "00042|a   |\"b\"|  3.14|[1 <nil> b]|int",
        ),
        ("{{ .text | printf \"%s-%s\" \"a\" | len }}", "3"),
        ("{{ index .map \"k\" }}{{ index .list 2 }}", "2e+06b"),
        ("{{ 1 | }}", "1"),
        ("{{\n1\n}}", "1"),
    ];
    for (text, expected) in cases {
        assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let cases = [
        ("{{ if }}", "template: t:1: missing value for if"),
        ("{{ if 1 }}", "template: t:1: unexpected EOF"),
        ("a\n{{ end }}", "template: t:2: unexpected {{end}}"),
        ("{{ nosuch }}", "template: t:1: function \"nosuch\" not defined"),
        ("{{ $x }}", "template: t:1: undefined variable \"$x\""),
        ("{{ break }}", "template: t:1: {{break}} outside {{range}}"),
        ("{{ \"a }}", "template: t:1: unterminated quoted string"),
        ("{{ /* a }}", "template: t:1: unexpected \"/\" in command"),
        ("{{/* a }}", "template: t:1: unclosed comment"),
        ("{{ 1 | 2 }}", "template: t:1: non executable command in pipeline stage 2"),
        ("x\n {{ .none.a }}", "template: t:2:9: executing \"t\" at <.none.a>: nil pointer evaluating interface {}.a"),
        ("{{ .text.a }}", "template: t:1:8: executing \"t\" at <.text.a>: can't evaluate field a in type string"),
        ("{{ len 1 }}", "template: t:1:3: executing \"t\" at <len 1>: error calling len: len of type int"),
        ("{{ not 1 2 }}", "template: t:1:3: executing \"t\" at <not>: wrong number of args for not: want 1 got 2"),
        (
            "{{ template \"x\" }}",
            "template: t:1:12: executing \"t\" at <{{template \"x\" ...}}>: template \"x\" not defined",
        ),
        (
            "{{ eq 1 \"a\" }}",
            "template: t:1:3: executing \"t\" at <eq 1 \"a\">: error calling eq: incompatible types for comparison: int and string",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(run(text), Err(expected.to_owned()), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands in a text, parsing and running it ends, and ends the same way each time.
    #[test]
    fn no_text_panics(parts in prop::collection::vec(prop_oneof![
        Just("{{"), Just("}}"), Just("{{- "), Just(" -}}"), Just("if "), Just("range "), Just("with "), Just("else "),
        Just("end"), Just("define "), Just("template "), Just("block "), Just("$x"), Just(":="), Just("="), Just("|"),
        Just("("), Just(")"), Just(".list"), Just(".none"), Just("."), Just(" "), Just("\"a\""), Just("1"), Just("-"),
        Just("printf "), Just("\"%d%[3]*.2f\""), Just("index "), Just("slice "), Just("/*"), Just("*/"), Just("'"),
        Just("`"), Just("\\"), Just("é"), Just("\n"), Just("nil"), Just(","), Just("break"), Just("0x"), Just("e9"),
    ], 0..25)) {
        let text = parts.concat();
        prop_assert_eq!(run(&text), run(&text));
    }
}
