//! Archives of charts: gzip and tar, bounded, without escapes.

use super::{CHART_MAX, FILE_MAX, File};
use flate2::read::MultiGzDecoder;
use std::io::Read;

/// The files of a `.tgz`, named from the top of the chart.
pub(in crate::helm) fn unpack(archive: &[u8]) -> Result<Vec<File>, String> {
    if !archive.starts_with(b"\x1f\x8b") {
        return Err("it does not appear to be a gzipped archive".into());
    }
    let too_large = || format!("decompressed chart is larger than the maximum file size {CHART_MAX}");
    let unreadable = |error: std::io::Error| format!("the archive cannot be read: {error}");
    let limit = u64::try_from(CHART_MAX).unwrap_or(u64::MAX) * 2;
    let mut tar = tar::Archive::new(MultiGzDecoder::new(archive).take(limit));
    let mut left = CHART_MAX;
    let mut files = Vec::new();
    for entry in tar.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        if !matches!(entry.header().entry_type(), tar::EntryType::Regular | tar::EntryType::Continuous) {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = checked(&path)?;
        let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        if size > FILE_MAX {
            return Err(format!("decompressed chart file {path:?} is larger than the maximum file size {FILE_MAX}"));
        }
        left = left.checked_sub(size).ok_or_else(too_large)?;
        let mut bytes = Vec::with_capacity(size);
        entry.read_to_end(&mut bytes).map_err(unreadable)?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).into();
        files.push(File { name, bytes });
    }
    if files.is_empty() {
        return Err("no files in chart archive".into());
    }
    Ok(files)
}

/// The path below the archive's one directory.
fn checked(path: &str) -> Result<String, String> {
    let path = if path.contains('\\') { path.replace('\\', "/") } else { path.to_owned() };
    let Some((top, rest)) = path.split_once('/') else {
        return Err(match path.as_str() {
            "Chart.yaml" => "chart yaml not in base directory".into(),
            _ => format!("chart illegally contains content outside the base directory: {path:?}"),
        });
    };
    if top == "Chart.yaml" {
        return Err("chart yaml not in base directory".into());
    }
    if rest.starts_with('/') {
        return Err("chart illegally contains absolute paths".into());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in rest.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err("chart illegally references parent directory".into());
                }
            }
            part => parts.push(part),
        }
    }
    let is_drive = parts.first().is_some_and(|first| first.len() == 2 && first.ends_with(':'));
    if is_drive {
        return Err("chart contains illegally named files".into());
    }
    if parts.is_empty() {
        return Err(format!("chart illegally contains content outside the base directory: {path:?}"));
    }
    Ok(parts.join("/"))
}
