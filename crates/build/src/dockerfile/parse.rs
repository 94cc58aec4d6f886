//! Logical lines → instructions.

use super::arguments::{Flags, command, duration, json, nearest, pairs};
use super::lines::{Heredoc, Logical, logical};
use super::words::split;
use super::{
    Argument, Command, Copy, Dockerfile, Healthcheck, Instruction, Mount, MountKind, Problem, Run, Source, Stage, Step,
    problem,
};

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads a Dockerfile.
pub(crate) fn parse(source: &str) -> Result<Dockerfile, Problem> {
    let (lines, escape) = logical(source)?;
    let mut file = Dockerfile { escape, globals: Vec::new(), stages: Vec::new() };
    for line in lines {
        let keyword = line.keyword.to_ascii_uppercase();
        let at = line.line;
        let located = |text: String| Problem { line: at, text: format!("{keyword}: {text}") };
        if !KEYWORDS.contains(&keyword.as_str()) {
            let hint = nearest(&keyword, &KEYWORDS).map_or(String::new(), |known| format!("; did you mean {known}?"));
            return problem(at, format!("unknown instruction {}{hint}", line.keyword));
        }
        if line.rest.is_empty() {
            return problem(at, format!("{keyword} needs arguments"));
        }
        if keyword == "FROM" {
            let stage = from(&line, &file.stages).map_err(located)?;
            file.stages.push(stage);
            continue;
        }
        let instruction = instruction(&keyword, &line, escape).map_err(located)?;
        match (file.stages.last_mut(), instruction) {
            (Some(stage), instruction) => {
                let text = format!("{keyword} {}", line.rest);
                stage.steps.push(Step { line: at, text, instruction });
            }
            (None, Instruction::Arg(arguments)) => file.globals.extend(arguments),
            (None, _) => return problem(at, format!("{keyword} must come after FROM")),
        }
    }
    match file.stages.is_empty() {
        true => problem(source.lines().count().max(1), "there is no FROM: an image begins with `FROM <base>`"),
        false => Ok(file),
    }
}

fn from(line: &Logical, stages: &[Stage]) -> Result<Stage, String> {
    let (mut flags, rest) = Flags::take(&line.rest);
    let platform = flags.one("platform")?;
    flags.none_left("--platform")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (base, name) = match words[..] {
        [base] => (base, None),
        [base, keyword, name] if keyword.eq_ignore_ascii_case("AS") => (base, Some(name.to_ascii_lowercase())),
        _ => return Err("must be <base>, or <base> AS <name>".into()),
    };
    if let Some(name) = &name {
        let allowed = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
        if !allowed || name == "scratch" {
            return Err(format!(
                "{name:?} cannot be the name of a stage (a letter, then letters, digits, '-', '_', '.')"
            ));
        }
        if stages.iter().any(|s| s.name.as_ref() == Some(name)) {
            return Err(format!("there is a stage {name:?} already"));
        }
    }
    Ok(Stage { line: line.line, base: base.to_owned(), platform, name, steps: Vec::new() })
}

fn instruction(keyword: &str, line: &Logical, escape: char) -> Result<Instruction, String> {
    let rest = line.rest.as_str();
    Ok(match keyword {
        "ADD" => Instruction::Copy(copy(line, true)?),
        "ARG" => Instruction::Arg(arguments(line, escape)?),
        "CMD" => Instruction::Cmd(command(rest)),
        "COPY" => Instruction::Copy(copy(line, false)?),
        "ENTRYPOINT" => Instruction::Entrypoint(command(rest)),
        "ENV" => Instruction::Env(pairs(rest, escape)?),
        "EXPOSE" => Instruction::Expose(rest.split_whitespace().map(str::to_owned).collect()),
        "HEALTHCHECK" => Instruction::Healthcheck(healthcheck(rest)?),
        "LABEL" => Instruction::Label(pairs(rest, escape)?),
        "MAINTAINER" => Instruction::Maintainer(rest.to_owned()),
        "ONBUILD" => {
            return Err("is not supported: write its instruction into the Dockerfile that builds on this image".into());
        }
        "RUN" => Instruction::Run(run(line)?),
        "SHELL" => match json(rest) {
            Some(words) if !words.is_empty() => Instruction::Shell(words),
            _ => return Err("needs a JSON array: SHELL [\"/bin/sh\", \"-c\"]".into()),
        },
        "STOPSIGNAL" => Instruction::StopSignal(rest.to_owned()),
        "USER" => Instruction::User(rest.to_owned()),
        "VOLUME" => {
            Instruction::Volume(json(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect()))
        }
        "WORKDIR" => Instruction::Workdir(rest.to_owned()),
        _ => unreachable!("FROM is handled by the caller, and every other keyword stands above"),
    })
}

fn arguments(line: &Logical, escape: char) -> Result<Vec<Argument>, String> {
    let argument = |word: String| {
        let (name, default) = word.split_once('=').map_or((word.as_str(), None), |(n, d)| (n, Some(d.to_owned())));
        if name.is_empty() {
            return Err(format!("{word}: a name must stand before '='"));
        }
        Ok(Argument { line: line.line, name: name.to_owned(), default })
    };
    split(&line.rest, escape)?.into_iter().map(argument).collect()
}

fn copy(line: &Logical, add: bool) -> Result<Copy, String> {
    let (mut flags, rest) = Flags::take(&line.rest);
    let from = if add { None } else { flags.one("from")? };
    let (owner, mode) = (flags.one("chown")?, flags.one("chmod")?);
    // Layers are made without looking at those below them anyway.
    flags.skip("link");
    flags.none_left(if add { "--chown, --chmod and --link" } else { "--from, --chown, --chmod and --link" })?;
    let mut words = json(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
    let destination = words.pop().ok_or("needs a source and a destination")?;
    if words.is_empty() {
        return Err("needs a source and a destination".into());
    }
    if add && let Some(remote) = words.iter().find(|w| is_remote(w)) {
        return Err(format!("{remote}: files from elsewhere are not supported; fetch them with RUN, or commit them"));
    }
    // A heredoc word is written without quotes and blanks, so both ways of splitting find the same one.
    let source = |word: String| match line.heredocs.iter().find(|h| h.word == word) {
        Some(Heredoc { name, text, expand, .. }) => {
            Source::Text { name: name.clone(), text: text.clone(), expand: *expand }
        }
        None => Source::Path(word),
    };
    Ok(Copy { add, from, owner, mode, sources: words.into_iter().map(source).collect(), destination })
}

fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "git@", "ssh://"].iter().any(|scheme| source.starts_with(scheme))
}

fn run(line: &Logical) -> Result<Run, String> {
    let (mut flags, rest) = Flags::take(&line.rest);
    let mounts = flags.many("mount")?.iter().map(|text| mount(text)).collect::<Result<_, _>>()?;
    let network = match flags.one("network")?.as_deref() {
        None | Some("default" | "host") => true,
        Some("none") => false,
        Some(other) => return Err(format!("--network={other} is not known; there are default, host and none")),
    };
    flags.none_left("--mount and --network")?;
    if rest.is_empty() {
        return Err("needs a command".into());
    }
    let command = match &line.heredocs[..] {
        [] => command(rest),
        [script] if script.word == rest && script.text.starts_with("#!") => {
            return Err(format!(
                "with a script of another interpreter must name it: RUN <interpreter> {}",
                script.word
            ));
        }
        [script] if script.word == rest => Command::Shell(script.text.clone()),
        several => {
            let mut text = rest.to_owned();
            for heredoc in several {
                text.push_str(&format!("\n{}{}", heredoc.text, heredoc.name));
            }
            Command::Shell(text)
        }
    };
    Ok(Run { command, mounts, network })
}

/// `type=cache,target=/x,id=y`.
fn mount(text: &str) -> Result<Mount, String> {
    let (mut kind, mut target, mut id, mut from, mut source, mut mode) = ("bind", None, None, None, "/", 0o755);
    for field in text.split(',') {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        match name {
            "type" => kind = value,
            "target" | "dst" | "destination" => target = Some(value.to_owned()),
            "id" => id = Some(value.to_owned()),
            "from" => from = Some(value.to_owned()),
            "source" | "src" => source = value,
            "mode" => {
                mode = u32::from_str_radix(value, 8).map_err(|_| format!("--mount: mode={value} is not octal"))?
            }
            // One build at a time, and what bind mounts receive is thrown away: nothing to share, nothing to protect.
            "sharing" | "ro" | "readonly" | "rw" | "readwrite" => {}
            other => {
                return Err(format!("--mount: {other} is not known; there are type, target, id, from, source, mode"));
            }
        }
    }
    let kind = match kind {
        "cache" if from.is_some() => return Err("--mount=type=cache,from=… is not supported".into()),
        "cache" => MountKind::Cache { id, mode },
        "bind" => MountKind::Bind { from, source: source.to_owned() },
        "tmpfs" => MountKind::Tmpfs,
        other => return Err(format!("--mount=type={other} is not supported; there are cache, bind and tmpfs")),
    };
    let target = target.filter(|t| !t.is_empty()).ok_or("--mount needs target=<path in the container>")?;
    Ok(Mount { target, kind })
}

fn healthcheck(rest: &str) -> Result<Healthcheck, String> {
    let (mut flags, rest) = Flags::take(rest);
    let mut time = |name: &str| flags.one(name)?.map(|text| duration(&text)).transpose();
    let (interval, timeout) = (time("interval")?, time("timeout")?);
    let (start_period, start_interval) = (time("start-period")?, time("start-interval")?);
    let number = |text: String| text.parse().map_err(|_| format!("--retries={text} is not a number"));
    let retries = flags.one("retries")?.map(number).transpose()?;
    flags.none_left("--interval, --timeout, --start-period, --start-interval and --retries")?;
    let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let test = match (word.to_ascii_uppercase().as_str(), rest.trim()) {
        ("NONE", "") => vec!["NONE".to_owned()],
        ("CMD", rest) if !rest.is_empty() => match command(rest) {
            Command::Exec(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line],
        },
        _ => return Err("must be NONE, or CMD <command>".into()),
    };
    Ok(Healthcheck { test, interval, timeout, start_period, start_interval, retries })
}
