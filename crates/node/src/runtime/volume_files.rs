//! Volumes on disk: directories, files, memory file systems, below the Pod's own directory.

use crate::error::Error;
use crate::layout::Layout;
use crate::pod::PodExt;
use crate::volumes::{File, Volume};
use k8s_openapi::api::core::v1::Pod;
use rustix::mount::{MountFlags, mount};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Makes all volumes of a Pod; those that exist are brought up to date.
pub(super) fn materialise(layout: &Layout, pod: &Pod, volumes: &BTreeMap<String, Volume>) -> Result<(), Error> {
    let group = pod.spec_ref().security_context.as_ref().and_then(|s| s.fs_group).and_then(|g| u32::try_from(g).ok());
    for (name, volume) in volumes {
        let directory = layout.volume(pod, name);
        match volume {
            Volume::Host { path, kind } => check_host_path(Path::new(path), kind)?,
            Volume::Empty { memory, size_bytes } => {
                create(&directory)?;
                if *memory {
                    mount_memory(&directory, *size_bytes)?;
                }
                open_for(&directory, group)?;
            }
            Volume::Files { files, secret } => {
                create(&directory)?;
                if *secret {
                    mount_memory(&directory, None)?;
                }
                fs::set_permissions(&directory, Permissions::from_mode(0o755))
                    .map_err(Error::file("changing", &directory))?;
                for file in files {
                    write_file(&directory, file, group)?;
                }
            }
        }
    }
    Ok(())
}

/// Where a volume is on this machine.
pub(super) fn source(layout: &Layout, pod: &Pod, name: &str) -> PathBuf {
    let volumes = pod.spec_ref().volumes.iter().flatten();
    let host = volumes.filter(|v| v.name == name).find_map(|v| v.host_path.as_ref());
    host.map_or_else(|| layout.volume(pod, name), |h| PathBuf::from(&h.path))
}

fn create(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(Error::file("creating", directory))
}

/// Writable for every container of the Pod, whoever it runs as.
fn open_for(directory: &Path, group: Option<u32>) -> Result<(), Error> {
    if let Some(group) = group {
        chown(directory, None, Some(group)).map_err(Error::file("changing", directory))?;
    }
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    fs::set_permissions(directory, Permissions::from_mode(mode)).map_err(Error::file("changing", directory))
}

/// Mounts a tmpfs here, unless there is one.
fn mount_memory(directory: &Path, size_bytes: Option<u64>) -> Result<(), Error> {
    let device = |path: &Path| fs::metadata(path).map(|m| m.dev()).map_err(Error::file("reading", path));
    if device(directory)? != device(directory.parent().unwrap_or(Path::new("/")))? {
        return Ok(());
    }
    let options = size_bytes.map_or(String::new(), |size| format!("size={size}"));
    let options = CString::new(options).expect("digits hold no NUL");
    mount("tmpfs", directory, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))
        .map_err(|e| Error::file("mounting", directory)(e.into()))
}

/// Replaces a file as a whole, so that a container never reads half of it.
fn write_file(directory: &Path, file: &File, group: Option<u32>) -> Result<(), Error> {
    let path = directory.join(&file.path);
    if let Some(parent) = path.parent() {
        create(parent)?;
    }
    let temporary = path.with_file_name(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
    let write = || -> io::Result<()> {
        fs::write(&temporary, &file.content)?;
        chown(&temporary, None, group)?;
        fs::set_permissions(&temporary, Permissions::from_mode(mode))?;
        fs::rename(&temporary, &path)
    };
    write().map_err(Error::file("writing", &path))
}

fn check_host_path(path: &Path, kind: &str) -> Result<(), Error> {
    let found = fs::metadata(path);
    let is = |check: fn(&fs::Metadata) -> bool| found.as_ref().is_ok_and(check);
    let right = match kind {
        "" => true,
        "DirectoryOrCreate" if found.is_err() => return create(path),
        "FileOrCreate" if found.is_err() => return fs::write(path, b"").map_err(Error::file("creating", path)),
        "Directory" | "DirectoryOrCreate" => is(fs::Metadata::is_dir),
        "File" | "FileOrCreate" => is(fs::Metadata::is_file),
        "Socket" => is(|m| m.mode() & 0o170_000 == 0o140_000),
        "CharDevice" => is(|m| m.mode() & 0o170_000 == 0o020_000),
        "BlockDevice" => is(|m| m.mode() & 0o170_000 == 0o060_000),
        _ => false,
    };
    match right {
        true => Ok(()),
        false => Err(Error::Invalid(format!("hostPath type check failed: {} is not a {kind}", path.display()))),
    }
}
