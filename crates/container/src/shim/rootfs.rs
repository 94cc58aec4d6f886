//! Joins the layers of an image and a writable directory into one tree.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount, mount_change, move_mount,
};
use rustix::thread::UnshareFlags;

use super::system;
use crate::error::{Failure, FailureKind};
use crate::protocol::Layout;
use crate::spec::Rootfs;

/// The writable layer is read back by others (a build commits it): no private markers of overlayfs in it but whiteouts.
const PLAIN: [(&str, &str); 3] = [("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")];

/// Mounts at `layout.rootfs()`, in a mount namespace that only this process and its children see.
pub(super) fn mount_root(layout: &Layout, rootfs: &Rootfs) -> Result<(), Failure> {
    let overlay = Overlay::prepare(layout, rootfs).map_err(failed("cannot prepare the root file system"))?;
    system::unshare(UnshareFlags::NEWNS).map_err(failed("cannot make a mount namespace"))?;
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", slave).map_err(failed("cannot detach from the host's mounts"))?;
    match overlay.mount_by_steps() {
        // EINVAL: a kernel before 6.8 does not know `lowerdir+`.
        Err(Errno::INVAL | Errno::NOSYS) => overlay.mount_by_names(layout),
        result => result.map_err(io::Error::from),
    }
    .map_err(|error| overlay.explain(&error))
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::new(FailureKind::Rootfs, format!("{what}: {error}"))
}

struct Overlay {
    /// The topmost first, as overlayfs wants them; never empty.
    lower: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
    target: PathBuf,
}

impl Overlay {
    fn prepare(layout: &Layout, rootfs: &Rootfs) -> io::Result<Self> {
        let (upper, work) = match &rootfs.writable {
            Some(writable) => (writable.upper.clone(), writable.work.clone()),
            None => (layout.directory.join("upper"), layout.directory.join("work")),
        };
        let mut lower: Vec<PathBuf> = rootfs.layers.iter().rev().cloned().collect();
        if lower.is_empty() {
            lower.push(layout.directory.join("empty"));
            fs::create_dir_all(&lower[0])?;
        }
        let target = layout.rootfs();
        for directory in [&upper, &work, &target] {
            fs::create_dir_all(directory)?;
        }
        Ok(Self { lower, upper, work, target })
    }

    /// Each layer is a value of its own: no limit on their number or on the length of their names.
    fn mount_by_steps(&self) -> Result<(), Errno> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", "overlay")?;
        for layer in &self.lower {
            fsconfig_set_string(&context, "lowerdir+", layer)?;
        }
        fsconfig_set_string(&context, "upperdir", &self.upper)?;
        fsconfig_set_string(&context, "workdir", &self.work)?;
        for (key, value) in PLAIN {
            fsconfig_set_string(&context, key, value)?;
        }
        fsconfig_create(&context)?;
        let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        move_mount(&mounted, "", CWD, &self.target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    }

    /// mount(2) takes one page of options, so the layers get short names, relative to where we stand.
    fn mount_by_names(&self, layout: &Layout) -> io::Result<()> {
        let names = layout.directory.join("l");
        fs::create_dir_all(&names)?;
        for (index, layer) in self.lower.iter().enumerate() {
            symlink(layer, names.join(index.to_string()))?;
        }
        let lower: Vec<String> = (0..self.lower.len()).map(|index| index.to_string()).collect();
        let mut options =
            format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), self.upper.display(), self.work.display());
        for (key, value) in PLAIN {
            options.push_str(&format!(",{key}={value}"));
        }
        let options = std::ffi::CString::new(options)?;
        let back = std::env::current_dir()?;
        std::env::set_current_dir(&names)?;
        let mounted = mount("overlay", &self.target, "overlay", MountFlags::empty(), Some(options.as_c_str()));
        std::env::set_current_dir(back)?;
        Ok(mounted?)
    }

    /// The kernel says EINVAL or ENOENT; we look for the usual reasons.
    fn explain(&self, error: &io::Error) -> Failure {
        if let Some(missing) = self.lower.iter().find(|layer| !layer.is_dir()) {
            return failed("cannot join the layers of the image")(format!("{} is missing", missing.display()));
        }
        let hint = match is_overlay(&self.upper) {
            true => "; the data directory is itself on an overlay: move it to a plain file system such as ext4 or xfs",
            false => "",
        };
        failed("cannot join the layers of the image")(format!("{error}{hint}"))
    }
}

fn is_overlay(path: &Path) -> bool {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == OVERLAYFS_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "root: mounts"]
    fn both_ways_of_mounting_give_the_same_tree() {
        let directory = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> =
            (0..130).map(|number| directory.path().join(format!("a-layer-with-a-long-name-{number}"))).collect();
        for (number, layer) in layers.iter().enumerate() {
            fs::create_dir(layer).unwrap();
            fs::write(layer.join(format!("of-{number}")), "").unwrap();
            fs::write(layer.join("of-all"), number.to_string()).unwrap();
        }
        let layout = Layout::new(directory.path().join("container"));
        // A thread of its own: the mount namespace goes with it.
        let seen = std::thread::spawn(move || {
            system::unshare(UnshareFlags::NEWNS).unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            let overlay = Overlay::prepare(&layout, &Rootfs { layers, writable: None }).unwrap();
            let root = layout.rootfs();
            let look = || (fs::read_dir(&root).unwrap().count(), fs::read_to_string(root.join("of-all")).unwrap());
            overlay.mount_by_steps().unwrap();
            let by_steps = look();
            rustix::mount::unmount(&root, rustix::mount::UnmountFlags::empty()).unwrap();
            overlay.mount_by_names(&layout).unwrap();
            (by_steps, look())
        });
        assert_eq!(seen.join().unwrap(), ((131, "129".to_owned()), (131, "129".to_owned())));
    }
}
