//! The same Dockerfile, built by us and by buildah: the same files, the same configuration.

use super::*;
use serde_json::Value;

/// What comes before each case: a root with a shell.
const BASE: &str = "ARG V=base\nFROM scratch AS base\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCOPY etc /etc\n";

const CASES: [(&str, &str); 12] = [
    (
        "copy",
        "FROM base\nCOPY a.txt b.txt dir /to/\nCOPY dir/deep /deep\nCOPY a.txt /one/two/three\nCOPY *.txt /all/\nCOPY [\"a b\", \"/sp ace/\"]\n",
    ),
    (
        "links",
        "FROM base\nRUN ln -s /bin /bin2 && ln -s /nowhere /dangling && mkdir -m 1777 /tmp\nCOPY a.txt /bin2/\nCOPY a.txt /tmp/x\nCOPY dir/link /link\nCOPY dir /d\n",
    ),
    (
        "owners",
        "FROM base\nCOPY --chown=web:extra a.txt /a\nCOPY --chown=7:8 dir /d/e\nCOPY --chmod=640 a.txt /c\nCOPY --chown=web dir/deep /e/\n",
    ),
    (
        "environment",
        "FROM base\nARG A=1\nARG B\nENV X=$A Y=\"${B:-none} $A\" Z='$A'\nENV OLD the rest  of it\nENV X=2 W=$X\nRUN echo \"$A $B $X $Y $Z $W\" > /out\nLABEL l=\"$X\" m=${Y}\n",
    ),
    ("global", "FROM base\nARG V\nARG W=${V}2\nRUN echo \"$V $W\" > /out\n"),
    (
        "workdir",
        "FROM base\nWORKDIR /a/b\nWORKDIR c\nRUN pwd > pwd.txt\nCOPY a.txt .\nCOPY a.txt ./sub/\nENV D=/from/env\nWORKDIR $D\n",
    ),
    (
        "user",
        "FROM base\nRUN mkdir -m 777 /w\nUSER web\nWORKDIR /w\nRUN id -un > id.txt; echo $HOME > home.txt\nUSER 1234:99\nRUN id -u > n.txt; id -g >> n.txt\n",
    ),
    (
        "stages",
        "FROM base AS one\nRUN echo 1 > /f && mkdir /g && echo 2 > /g/h && chown 5:6 /g/h\nFROM one AS two\nRUN rm /f && echo 3 > /g/i\nFROM base\nCOPY --from=two /g /g\nCOPY --from=1 /f /etc/passwd /x/\nCOPY --from=one /g/ /y\n",
    ),
    (
        "deletions",
        "FROM base\nRUN mkdir -p /d/e && echo 1 > /d/e/f && echo 2 > /d/g\nRUN rm -r /d/e && rm /bin/ls\nRUN mkdir /d/e && echo 3 > /d/e/new\n",
    ),
    (
        "commands",
        "FROM base\nCMD [\"a\", \"b\"]\nENTRYPOINT [\"x\"]\nEXPOSE 80 53/udp\nVOLUME /data\nSTOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s --retries=2 CMD true\n",
    ),
    (
        "shell",
        "FROM base\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo one; \\\n  # a comment\n  echo two > /out\nCMD [\"before\"]\nENTRYPOINT [\"/bin/sh\"]\nCMD [\"after\"]\n",
    ),
    ("add", "FROM base\nADD tree.tar.gz /unpacked/\nADD a.txt /added/\nCOPY tree.tar.gz /copied\n"),
];

#[tokio::test]
#[ignore = "root: runs containers and buildah"]
async fn images_are_like_those_of_buildah() {
    let (Some(busybox), true) = (busybox(), Command::new("buildah").arg("version").output().is_ok()) else {
        eprintln!("left out: needs buildah and busybox-static");
        return;
    };
    build_shim();
    let world = World::new();
    let context = world.directory.path().join("context");
    write_context(&context, &busybox);
    let buildah = Buildah { root: world.directory.path().join("buildah") };
    let mut different = Vec::new();
    for (name, lines) in CASES {
        let dockerfile = format!("{BASE}{lines}");
        fs::write(context.join("Dockerfile"), &dockerfile).unwrap();
        let ours = world.build_directory(&context).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let reference = format!("localhost/differential/{name}:1");
        let archive = buildah.build(&context, &reference);
        world.store.import(&archive, Some(reference.parse().unwrap())).await.unwrap();
        let (image, root) = world.builder.shop.base(&reference, &world.told).await.unwrap();
        let theirs = Built { image, root };
        // Mount points and host names that chroot isolation leaves behind.
        let except = ["proc", "sys", "dev", "run", "etc/hosts", "etc/resolv.conf", "etc/hostname"];
        let sets = [&ours, &theirs].map(|built| built.listing(&except).into_iter().collect::<BTreeSet<_>>());
        let only: [Vec<&String>; 2] = [sets[0].difference(&sets[1]).collect(), sets[1].difference(&sets[0]).collect()];
        if sets[0] != sets[1] {
            different.push(format!("{name}: only ours {:?}, only theirs {:?}", only[0], only[1]));
        }
        if config(&ours) != config(&theirs) {
            different.push(format!("{name}: ours {}, theirs {}", config(&ours), config(&theirs)));
        }
    }
    buildah.remove();
    assert!(different.is_empty(), "{}", different.join("\n"));
    world.end().await;
}

/// Without what names the tool.
fn config(built: &Built) -> Value {
    let mut config = serde_json::to_value(&built.image.config).unwrap();
    if let Some(labels) = config.get_mut("Labels").and_then(Value::as_object_mut) {
        labels.retain(|name, _| name != "io.buildah.version");
        if labels.is_empty() {
            config.as_object_mut().unwrap().remove("Labels");
        }
    }
    config
}

fn write_context(context: &Path, busybox: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    for directory in ["dir/deep", "etc"] {
        fs::create_dir_all(context.join(directory)).unwrap();
    }
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o640);
    archive.append_data(&mut header, "in/file", &b"F\n"[..]).unwrap();
    let archive = archive.into_inner().unwrap().finish().unwrap();
    let files: [(&str, &[u8]); 9] = [
        ("busybox", busybox),
        ("etc/passwd", b"root:x:0:0::/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\n"),
        ("etc/group", b"root:x:0:\nwww:x:102:\nextra:x:50:web\n"),
        ("a.txt", b"A\n"),
        ("b.txt", b"B\n"),
        ("a b", b"blank\n"),
        ("dir/c", b"C\n"),
        ("dir/deep/d", b"D\n"),
        ("tree.tar.gz", &archive),
    ];
    for (path, bytes) in files {
        fs::write(context.join(path), bytes).unwrap();
    }
    fs::set_permissions(context.join("busybox"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("c", context.join("dir/link")).unwrap();
}

struct Buildah {
    root: PathBuf,
}

impl Buildah {
    /// Without what it would leave in /var/lib.
    fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount -t tmpfs none /var/lib && exec \"$@\"", "sh", "buildah"]);
        command.arg("--root").arg(self.root.join("root")).arg("--runroot").arg(self.root.join("run"));
        command.args(["--storage-driver", "vfs"]);
        command
    }

    /// Builds and returns an archive of the image.
    fn build(&self, context: &Path, reference: &str) -> PathBuf {
        let archive = self.root.join("image.tar");
        let _ = fs::remove_file(&archive);
        let mut bud = self.command();
        bud.args(["bud", "--quiet", "--isolation", "chroot", "--pull-never", "--format", "docker", "--tag", reference])
            .arg(context);
        let mut push = self.command();
        push.args(["push", "--quiet", reference]).arg(format!("docker-archive:{}:{reference}", archive.display()));
        /// Tries of a command that fails for a reason of buildah's own.
        const TRIES: usize = 5;
        for mut command in [bud, push] {
            let mut output = command.output().unwrap();
            for _ in 1..TRIES {
                // It copies itself into a sealed memory file when it starts again; while a page of that is still being
                // written, the kernel answers EBUSY, which buildah takes for the end.
                if !String::from_utf8_lossy(&output.stderr).contains("sealing memfd copy") {
                    break;
                }
                output = command.output().unwrap();
            }
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        archive
    }

    fn remove(&self) {
        let status = self.command().args(["rmi", "--all", "--force"]).output().unwrap().status;
        assert!(status.success());
    }
}
