//! Changing one line of a file that people write: everything else, comments included, stays as it was.

use serde::de::DeserializeOwned;

/// The file with a key of its top level set to a plain value, or removed. `expect` is what the file must read as
/// afterwards: if the way it is written makes one line impossible, that is an error that says what to do by hand.
pub fn set_line<T: DeserializeOwned + PartialEq>(
    path: &str,
    text: &str,
    key: &str,
    value: Option<&str>,
    expect: &T,
) -> Result<String, String> {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let prefix = format!("{key}:");
    let place = lines.iter().position(|line| line.starts_with(&prefix));
    match (place, value) {
        (Some(place), Some(value)) => {
            let line = &mut lines[place];
            let comment = line.find(" #").map(|at| line[at..].trim_end().to_owned()).unwrap_or_default();
            *line = format!("{key}: {value}{comment}\n");
        }
        (Some(place), None) => drop(lines.remove(place)),
        (None, Some(value)) => {
            let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            lines.push(format!("{newline}{key}: {value}\n"));
        }
        (None, None) => {}
    }
    let edited = lines.concat();
    match yaml::from_str::<T>(&edited, path) {
        Ok(after) if after == *expect => Ok(edited),
        _ => {
            let advice = value.map_or_else(|| format!("remove `{key}`"), |value| format!("set `{key}: {value}`"));
            Err(format!("{path} is written so that one line cannot be changed in it: {advice} there by hand"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EnvironmentFile;

    #[test]
    fn only_the_one_line_changes() {
        let file = |release: Option<&str>| EnvironmentFile {
            release: release.map(|v| v.parse().unwrap()),
            production: true,
            ..EnvironmentFile::default()
        };
        let set = |text: &str, value: Option<&str>| set_line("e.yaml", text, "release", value, &file(value));
        let plain = "# careful\nproduction: true # really\n";
        let with = set(plain, Some("1.4.0")).unwrap();
        assert_eq!(with, "# careful\nproduction: true # really\nrelease: 1.4.0\n");
        assert_eq!(set(&with, Some("1.5.0")).unwrap(), with.replace("1.4.0", "1.5.0"));
        assert_eq!(set(&with, None).unwrap(), plain);
        assert_eq!(set("production: true", Some("1.4.0")).unwrap(), "production: true\nrelease: 1.4.0\n");
        let error = set("{production: true}\n", Some("1.4.0")).unwrap_err();
        assert!(error.contains("set `release: 1.4.0` there by hand"), "{error}");
    }
}
