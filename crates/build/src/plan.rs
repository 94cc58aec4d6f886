//! Which stages a build needs, and what each of them begins with.

use crate::dockerfile::words::expand;
use crate::dockerfile::{Dockerfile, Instruction, MountKind, Problem, Run, Stage, Step};
use crate::image::architecture;
use std::collections::BTreeMap;

/// Values that are known before the first stage.
pub(crate) struct Globals<'a> {
    /// Given from outside.
    pub given: &'a BTreeMap<String, String>,
    /// ARG before the first FROM, and what Docker knows of the platform.
    values: BTreeMap<String, Option<String>>,
}

impl<'a> Globals<'a> {
    pub fn new(file: &Dockerfile, given: &'a BTreeMap<String, String>) -> Result<Self, Problem> {
        let mut globals = Self { given, values: BTreeMap::new() };
        let platform = format!("linux/{}", architecture());
        for side in ["TARGET", "BUILD"] {
            for (name, value) in
                [("PLATFORM", platform.as_str()), ("OS", "linux"), ("ARCH", architecture()), ("VARIANT", "")]
            {
                globals.values.insert(format!("{side}{name}"), Some(value.to_owned()));
            }
        }
        for argument in &file.globals {
            let default = argument.default.as_ref().map(|word| expand(word, file.escape, &|name| globals.get(name)));
            let default = default.transpose().map_err(|text| Problem { line: argument.line, text })?;
            let value = given.get(&argument.name).cloned().or(default);
            globals.values.insert(argument.name.clone(), value);
        }
        Ok(globals)
    }

    /// The value of an argument declared before the first FROM.
    pub fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned().flatten()
    }
}

/// Where a stage, a COPY or a mount takes files from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Scratch,
    /// Index of an earlier stage.
    Stage(usize),
    /// The reference of an image.
    Image(String),
}

/// A stage that is needed.
pub(crate) struct Planned<'a> {
    pub index: usize,
    pub stage: &'a Stage,
    pub base: Origin,
}

/// The stages that `target` (or the last stage) needs, in order of the file.
pub(crate) fn plan<'a>(
    file: &'a Dockerfile,
    globals: &Globals<'_>,
    target: usize,
) -> Result<Vec<Planned<'a>>, Problem> {
    let mut needed = vec![false; file.stages.len()];
    needed[target] = true;
    let mut planned = Vec::new();
    for index in (0..=target).rev() {
        if !needed[index] {
            continue;
        }
        let stage = &file.stages[index];
        let base = base(file, globals, index)?;
        let origins = stage.steps.iter().flat_map(references);
        for reference in origins.map(|(line, name)| origin(file, index, line, name)) {
            if let Origin::Stage(other) = reference? {
                needed[other] = true;
            }
        }
        if let Origin::Stage(other) = base {
            needed[other] = true;
        }
        planned.push(Planned { index, stage, base });
    }
    planned.reverse();
    Ok(planned)
}

/// The stage of this name or number.
pub(crate) fn find_stage(file: &Dockerfile, name: &str) -> Option<usize> {
    let lower = name.to_ascii_lowercase();
    let named = file.stages.iter().position(|stage| stage.name.as_ref() == Some(&lower));
    named.or_else(|| name.parse().ok().filter(|index| *index < file.stages.len()))
}

fn base(file: &Dockerfile, globals: &Globals<'_>, index: usize) -> Result<Origin, Problem> {
    let stage = &file.stages[index];
    let located = |text: String| Problem { line: stage.line, text: format!("FROM: {text}") };
    let value = |word: &str| expand(word, file.escape, &|name| globals.get(name)).map_err(located);
    if let Some(platform) = &stage.platform {
        let platform = value(platform)?;
        let here = format!("linux/{}", architecture());
        if platform != here && !platform.is_empty() {
            return Err(located(format!("--platform={platform} cannot be built on this machine, which is {here}")));
        }
    }
    let name = value(&stage.base)?;
    if name.is_empty() {
        return Err(located(format!("{} is empty: no ARG before the first FROM gives it a value", stage.base)));
    }
    if name == "scratch" {
        return Ok(Origin::Scratch);
    }
    // A number is an image here; only COPY knows stages by number.
    let earlier = file.stages[..index].iter().position(|s| s.name.as_deref() == Some(&name.to_ascii_lowercase()));
    Ok(earlier.map_or(Origin::Image(name), Origin::Stage))
}

/// What `--from=` means in stage `index`.
pub(crate) fn origin(file: &Dockerfile, index: usize, line: usize, name: &str) -> Result<Origin, Problem> {
    match find_stage(file, name) {
        Some(other) if other < index => Ok(Origin::Stage(other)),
        Some(_) => {
            Err(Problem { line, text: format!("--from={name} must name a stage that ends before this one begins") })
        }
        None if name.bytes().all(|b| b.is_ascii_digit()) => Err(Problem {
            line,
            text: format!("--from={name}: there are {index} stages before this one, counted from 0"),
        }),
        None => Ok(Origin::Image(name.to_owned())),
    }
}

/// Lines and names of everything that a step takes from elsewhere.
fn references(step: &Step) -> Vec<(usize, &str)> {
    match &step.instruction {
        Instruction::Copy(copy) => copy.from.iter().map(|name| (step.line, name.as_str())).collect(),
        Instruction::Run(Run { mounts, .. }) => {
            let names = mounts.iter().filter_map(|mount| match &mount.kind {
                MountKind::Bind { from, .. } => from.as_deref(),
                _ => None,
            });
            names.map(|name| (step.line, name)).collect()
        }
        _ => Vec::new(),
    }
}
