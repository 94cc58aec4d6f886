//! Suspending an environment: a commit that changes one line of its file.

use crate::Reconciler;
use crate::requests::{Refusal, known_environment};
use crate::write::{Edit, text};
use model::config::EnvironmentFile;
use model::{CommitId, Environment, Project};

impl Reconciler {
    /// Stops all movement in an environment, or lifts that, by a commit to its file. `None`: it stood so already.
    pub async fn suspend(
        &self,
        project: &Project,
        environment: &Environment,
        suspend: bool,
        actor: &str,
    ) -> Result<Option<CommitId>, Refusal> {
        let (_, view) = self.look(project).await?;
        known_environment(&view, environment)?;
        let path = format!("environments/{environment}.yaml");
        let decide = |snapshot: &_| {
            let before = text(snapshot, &path)?;
            let after = edit(&path, before, suspend).map_err(Refusal::Refused)?;
            let message = format!("{environment}: {}\n", if suspend { "suspend" } else { "resume" });
            let files = |after: String| [(path.clone(), Some(after.into_bytes()))].into();
            Ok((after != before).then(|| Edit { files: files(after), message }))
        };
        self.edit(project, actor, decide).await
    }
}

/// The file with only its `suspend` changed: everything else, comments included, stays as it was.
fn edit(path: &str, text: &str, suspend: bool) -> Result<String, String> {
    let parse = |text: &str| yaml::from_str::<EnvironmentFile>(text, path);
    let before =
        if text.trim().is_empty() { EnvironmentFile::default() } else { parse(text).map_err(|e| e.to_string())? };
    if before.suspend == suspend {
        return Ok(text.to_owned());
    }
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    match lines.iter_mut().find(|line| line.starts_with("suspend:")) {
        Some(line) => {
            let comment = line.find(" #").map(|at| line[at..].trim_end().to_owned()).unwrap_or_default();
            *line = format!("suspend: {suspend}{comment}\n");
        }
        None => {
            let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            lines.push(format!("{newline}suspend: {suspend}\n"));
        }
    }
    let edited = lines.concat();
    // Whatever way the file is written: nothing else may have changed.
    match parse(&edited) {
        Ok(after) if after == (EnvironmentFile { suspend, ..before }) => Ok(edited),
        _ => Err(format!(
            "{path} is written so that one line cannot be changed in it: set `suspend: {suspend}` there by hand"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::edit;

    #[test]
    fn only_the_one_line_changes() {
        let cases = [
            ("", true, "suspend: true\n"),
            (
                "# dev\npromotion:\n  strategy: Auto # fast\n",
                true,
                "# dev\npromotion:\n  strategy: Auto # fast\nsuspend: true\n",
            ),
            ("production: true", true, "production: true\nsuspend: true\n"),
            (
                "suspend: true  # until Monday\nproduction: true\n",
                false,
                "suspend: false # until Monday\nproduction: true\n",
            ),
            ("suspend: false\nproduction: true\n", true, "suspend: true\nproduction: true\n"),
            ("suspend: true\n", true, "suspend: true\n"),
            ("production: true\n", false, "production: true\n"),
        ];
        for (text, suspend, expected) in cases {
            assert_eq!(edit("environments/dev.yaml", text, suspend).as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn a_file_written_otherwise_is_left_to_its_author() {
        for text in ["{suspend: false}\n", "production: true\n...\n"] {
            let error = edit("environments/dev.yaml", text, true).unwrap_err();
            assert!(error.contains("environments/dev.yaml"), "{error}");
        }
    }
}
