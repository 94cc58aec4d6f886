//! Whole builds: `cargo test -p build -- --ignored` as root runs those with containers.

use super::*;
use crate::files::Tree;
use container::Config;
use model::config::BuildRule;
use model::flow::{File, FileMode, Repository, Revision};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

mod differential;
mod running;

/// What a build has told.
#[derive(Default)]
pub(super) struct Told(Mutex<Vec<String>>);

impl Lines for Told {
    fn line(&self, text: &str) -> bool {
        self.0.lock().unwrap().push(text.to_owned());
        true
    }
}

impl Told {
    /// What was told since the last time, without the digest of the image.
    fn take(&self) -> Vec<String> {
        let lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.into_iter().filter(|line| !line.starts_with("image ")).collect()
    }
}

/// A builder with directories of its own, and the state of the machine before it.
pub(super) struct World {
    builder: Builder,
    store: oci::Store,
    containers: Runtime,
    told: Told,
    before: BTreeSet<String>,
    cgroup_parent: String,
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().file_name().unwrap().to_str().unwrap().trim_start_matches(".tmp").to_lowercase();
        let cgroup_parent = format!("trimtab-test-{name}");
        let before = machine(&cgroup_parent);
        let config = Config {
            exe: shim(),
            root: directory.path().join("containers"),
            instance: name,
            cgroup_parent: cgroup_parent.clone(),
        };
        let containers = Runtime::new(config).unwrap();
        let store = oci::Store::open(directory.path().join("oci")).unwrap();
        let options = Options {
            images: store.clone(),
            credentials: BTreeMap::new(),
            containers: containers.clone(),
            cache: directory.path().join("build"),
            memory_bytes: 256 << 20,
        };
        Self {
            builder: Builder::new(options).unwrap(),
            store,
            containers,
            told: Told::default(),
            before,
            cgroup_parent,
            directory,
        }
    }

    async fn build(&self, files: &[(&str, &str)]) -> Result<Built, String> {
        self.build_with(files, BuildRule::default()).await
    }

    async fn build_with(&self, files: &[(&str, &str)], rule: BuildRule) -> Result<Built, String> {
        let request = request("web-1", files, rule);
        self.execute(request).await
    }

    /// Builds what lies in a directory.
    async fn build_directory(&self, context: &Path) -> Result<Built, String> {
        let mut request = request("web-1", &[], BuildRule::default());
        read(context, Path::new(""), &mut request.snapshot.files);
        self.execute(request).await
    }

    async fn execute(&self, request: BuildRequest) -> Result<Built, String> {
        let turn = Arc::new(self.builder.turn().await);
        let state = self.builder.execute(&request, &self.told, turn).await;
        let state = state.map_err(|error| with_sources(&error))?;
        Ok(Built { image: state.image, root: state.root })
    }

    /// Builds and tags a base image: busybox with a shell. `None` if the machine has no static busybox.
    async fn base(&self) -> Option<()> {
        build_shim();
        let Some(busybox) = busybox() else {
            eprintln!("left out: there is no busybox (package busybox-static) to make a base image of");
            return None;
        };
        let dockerfile = concat!(
            "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n",
            "COPY passwd group /etc/\nRUN mkdir -p -m 1777 /tmp\n"
        );
        let mut request = request(
            "base-1",
            &[
                ("Dockerfile", dockerfile),
                ("passwd", "root:x:0:0::/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\n"),
                ("group", "root:x:0:\nwww:x:102:\nextra:x:50:web\n"),
            ],
            BuildRule::default(),
        );
        let file = File { mode: FileMode::Executable, bytes: busybox.into() };
        request.snapshot.files.insert("busybox".into(), file);
        self.builder.image(&request, &self.told).await.unwrap();
        self.told.take();
        Some(())
    }

    /// After everything: no container, mount, process or cgroup more than before.
    async fn end(self) {
        assert_eq!(self.containers.list().await.unwrap(), []);
        self.containers.purge().await.unwrap();
        let work: Vec<_> = fs::read_dir(self.directory.path().join("build/work")).unwrap().collect();
        assert!(work.is_empty(), "{work:?} is left");
        let after = machine(&self.cgroup_parent);
        assert_eq!(after.difference(&self.before).collect::<Vec<_>>(), Vec::<&String>::new());
    }
}

impl Drop for World {
    /// A test that fails shall not leave cgroups either; after `end` there are none.
    fn drop(&mut self) {
        for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = fs::remove_dir(controller.path().join(&self.cgroup_parent));
        }
    }
}

/// Mounts, and cgroups of this name.
fn machine(cgroup: &str) -> BTreeSet<String> {
    let mut found: BTreeSet<_> = fs::read_to_string("/proc/self/mounts").unwrap().lines().map(str::to_owned).collect();
    for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        for group in fs::read_dir(controller.path()).into_iter().flatten().flatten() {
            let path = group.path().display().to_string();
            if path.ends_with(cgroup) {
                found.insert(path);
            }
        }
    }
    found
}

fn busybox() -> Option<Vec<u8>> {
    ["/usr/bin/busybox", "/bin/busybox"].iter().find_map(|path| fs::read(path).ok())
}

/// The shim's binary beside this test.
fn shim() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).expect("tests lie in target/<profile>/deps").join("container-shim")
}

/// Builds the shim, once.
fn build_shim() {
    static BUILT: std::sync::Once = std::sync::Once::new();
    BUILT.call_once(|| {
        let arguments = ["build", "--quiet", "--package", "container", "--bin", "container-shim"];
        let status = Command::new(env!("CARGO")).args(arguments).status().expect("cargo runs: it runs this test");
        assert!(status.success());
    });
}

/// `path*` is executable.
fn request(build: &str, files: &[(&str, &str)], rule: BuildRule) -> BuildRequest {
    let project: Project = "tests".parse().unwrap();
    let revision = Revision {
        repository: Repository { project: project.clone(), name: "web".into() },
        commit: "91bc000000000000000000000000000000000000".parse().unwrap(),
    };
    let file = |(path, content): &(&str, &str)| {
        let mode = if path.ends_with('*') { FileMode::Executable } else { FileMode::Regular };
        (path.trim_end_matches('*').to_owned(), File { mode, bytes: content.as_bytes().into() })
    };
    let files = files.iter().map(file).collect();
    BuildRequest { project, build: build.parse().unwrap(), snapshot: Snapshot { revision, files }, rule }
}

fn read(root: &Path, below: &Path, files: &mut BTreeMap<String, File>) {
    for item in fs::read_dir(root.join(below)).unwrap() {
        let path = below.join(item.unwrap().file_name());
        let about = fs::symlink_metadata(root.join(&path)).unwrap();
        let (mode, bytes) = if about.is_dir() {
            read(root, &path, files);
            continue;
        } else if about.is_symlink() {
            (FileMode::Symlink, fs::read_link(root.join(&path)).unwrap().into_os_string().into_encoded_bytes())
        } else {
            let executable = std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o100 != 0;
            let mode = if executable { FileMode::Executable } else { FileMode::Regular };
            (mode, fs::read(root.join(&path)).unwrap())
        };
        files.insert(path.display().to_string(), File { mode, bytes: bytes.into() });
    }
}

pub(super) struct Built {
    image: image::Image,
    root: images::Root,
}

impl Built {
    /// The content of a file, `-> target` of a link, `/` for a directory.
    fn read(&self, path: &str) -> Option<String> {
        let tree = self.root.tree();
        let path = normal(path);
        Some(match tree.entry(&path).unwrap()?.kind {
            files::Kind::Directory => "/".into(),
            files::Kind::Symlink(target) => format!("-> {}", target.display()),
            _ => {
                let mut text = String::new();
                tree.open(&path).unwrap().read_to_string(&mut text).unwrap();
                text
            }
        })
    }

    /// Every path with mode, owner and content, except what begins with one of these.
    fn listing(&self, except: &[&str]) -> Vec<String> {
        let mut out = Vec::new();
        list(&self.root.tree(), Path::new(""), except, &mut out);
        out
    }
}

fn list(tree: &dyn Tree, directory: &Path, except: &[&str], out: &mut Vec<String>) {
    for name in tree.list(directory).unwrap() {
        let path = directory.join(name);
        if except.iter().any(|e| path.starts_with(e)) {
            continue;
        }
        let entry = tree.entry(&path).unwrap().unwrap();
        let tail = match &entry.kind {
            files::Kind::Directory => "/".to_owned(),
            files::Kind::Symlink(target) => format!(" -> {}", target.display()),
            _ => {
                let mut bytes = Vec::new();
                tree.open(&path).unwrap().read_to_end(&mut bytes).unwrap();
                format!(" {}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]))
            }
        };
        let mode = if matches!(entry.kind, files::Kind::Symlink(_)) { 0o777 } else { entry.mode };
        out.push(format!("{} {mode:o} {}:{}{tail}", path.display(), entry.uid, entry.gid));
        if entry.is_directory() {
            list(tree, &path, except, out);
        }
    }
}

#[tokio::test]
async fn an_image_without_run_needs_no_root() {
    let world = World::new();
    let dockerfile = concat!(
        "ARG WHERE=/srv\nFROM trimtab/static AS web\nARG WHERE\nARG GREETING=hello\nENV A=1 B=\"$GREETING $A\"\nLABEL org.x=$B\n",
        "COPY . ${WHERE}/\nCOPY <<EOF /srv/made.txt\n$GREETING\nEOF\nWORKDIR /srv/deep/er\nWORKDIR ../up\n",
        "EXPOSE 9090 53/udp\nUSER 33:33\nSTOPSIGNAL SIGINT\nHEALTHCHECK NONE\nVOLUME /data\nCMD [\"x\"]\nENTRYPOINT serve $A\n",
        "FROM nowhere AS unused\nRUN false\n"
    );
    let files =
        [("Dockerfile", dockerfile), ("index.html", "<p>"), ("sub/run.sh*", "#!"), (".dockerignore", "Dockerfile\n")];
    let mut rule = BuildRule { target: Some("WEB".into()), ..BuildRule::default() };
    rule.args.insert("GREETING".into(), "hi".into());
    rule.args.insert("TYPO".into(), "1".into());
    let built = world.build_with(&files, rule.clone()).await.unwrap();
    let told = world.told.take();
    assert_eq!(
        told[..3],
        [
            "warning: build.args TYPO is declared by no ARG",
            "step 1/16 FROM trimtab/static AS web",
            "step 2/16 ARG WHERE"
        ]
    );
    assert_eq!(told[6..8], ["step 6/16 COPY . ${WHERE}/", "step 7/16 COPY <<EOF /srv/made.txt"]);
    let reads = [
        ("srv/index.html", Some("<p>")),
        ("srv/sub/run.sh", Some("#!")),
        ("srv/made.txt", Some("hi\n")),
        ("srv/Dockerfile", None),
        ("srv/deep/up", Some("/")),
        ("srv/deep/er", Some("/")),
        ("srv/.dockerignore", Some("Dockerfile\n")),
    ];
    for (path, expect) in reads {
        assert_eq!(built.read(path).as_deref(), expect, "{path}");
    }
    let config = serde_json::to_value(&built.image.config).unwrap();
    assert_eq!(
        config,
        serde_json::json!({
            "User": "33:33", "WorkingDir": "/srv/deep/up", "StopSignal": "SIGINT",
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1", "B=hi "], "Labels": {"org.x": "hi "}, "Entrypoint": ["/bin/sh", "-c", "serve $A"], "Cmd": ["x"],
            "ExposedPorts": {"53/udp": {}, "8080/tcp": {}, "9090/tcp": {}}, "Volumes": {"/data": {}},
            "Healthcheck": {"Test": ["NONE"]},
        })
    );
    assert_eq!(built.image.rootfs.diff_ids.len(), built.root.layers.len());
    assert_eq!(built.image.history.iter().filter(|h| !h.empty_layer).count(), built.root.layers.len());

    let again = world.build_with(&files, rule).await.unwrap();
    assert_eq!(again.image, built.image, "equal input makes an equal image");
    assert!(world.told.take().contains(&"step 6/16 COPY . ${WHERE}/ (cached)".to_owned()));
}

#[tokio::test]
async fn images_are_stored_under_their_build() {
    use model::ports::Builder as _;
    let world = World::new();
    let files = [("Dockerfile", "FROM trimtab/static\nCOPY index.html /srv/\n"), ("index.html", "<p>")];
    let first = world.builder.build(&request("web-7", &files, BuildRule::default()), &world.told).await.unwrap();
    assert!(first.name() == "registry.trimtab.internal/tests/web" && world.builder.has(&first).await.unwrap());
    let told = std::mem::take(&mut *world.told.0.lock().unwrap());
    assert_eq!(told[..2], ["step 1/2 FROM trimtab/static", "step 2/2 COPY index.html /srv/"]);
    let last = told.last().unwrap();
    assert!(last.starts_with(&format!("image {} ", first.digest())) && last.ends_with(" MB"), "{told:?}");
    let tag = world.store.resolve(&"registry.trimtab.internal/tests/web:7".parse().unwrap()).unwrap();
    assert_eq!(tag.as_str(), first.digest().as_str());
    let again = world.builder.build(&request("web-8", &files, BuildRule::default()), &world.told).await.unwrap();
    assert_eq!(again, first, "equal input makes an equal image");
    assert!(world.told.take().contains(&"step 2/2 COPY index.html /srv/ (cached)".to_owned()));

    let (project, build) = ("tests".parse().unwrap(), "other-1".parse().unwrap());
    let fetched = world.builder.fetch(&project, &build, "trimtab/static", &world.told).await.unwrap();
    assert_eq!(fetched.name(), "registry.trimtab.internal/tests/other");
    let unknown = model::ImageRef::recorded(&project, &build.component, &model::Digest::of(b"unknown"));
    assert!(!world.builder.has(&unknown).await.unwrap());
    let failure = world.builder.fetch(&project, &build, "No Image", &world.told).await.unwrap_err();
    assert!(failure.message.starts_with("image No Image: "), "{failure}");
    // What a crash leaves is swept away at the next start.
    fs::write(world.directory.path().join("build/work/left"), "").unwrap();
    world.builder.recover().await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn mistakes_are_told_with_their_place() {
    let world = World::new();
    let cases = [
        ("", "there is no FROM", "Dockerfile:1: "),
        ("FROM scratch\nCOPY x /", "\"x\" is not there", "Dockerfile:2: COPY x /: "),
        ("FROM scratch\nCOPY --from=later x /\nFROM scratch AS later", "", ""),
        ("FROM scratch AS a\nCOPY --from=3 x /", "there are 0 stages before this one", "Dockerfile:2: "),
        (
            "FROM scratch AS a\nCOPY --from=a x /",
            "must name a stage that ends before this one begins",
            "Dockerfile:2: ",
        ),
        ("FROM $NOTHING", "is empty: no ARG before the first FROM gives it a value", "Dockerfile:1: "),
        ("FROM --platform=linux/nonsense x", "cannot be built on this machine", "Dockerfile:1: "),
        ("FROM scratch\nEXPOSE web", "\"web\" is not a port", "Dockerfile:2: EXPOSE web: "),
        ("FROM scratch\nENV A=\"${B:?must be given}\"", "variable B is not set: must be given", "Dockerfile:2: ENV "),
        (
            "FROM scratch\nCOPY --chown=me a /",
            "there is no user \"me\" in /etc/passwd of the image",
            "Dockerfile:2: COPY ",
        ),
        ("FROM scratch\nCOPY --chmod=u+x a /", "write octal digits, 755", "Dockerfile:2: COPY "),
        (
            "FROM trimtab/static\nRUN make",
            "the image has no /bin/sh; build in a stage on an image that has it",
            "Dockerfile:2: RUN make: ",
        ),
        ("FROM scratch\nUSER web\nWORKDIR /x", "there is no user \"web\"", "Dockerfile:3: WORKDIR /x: "),
    ];
    for (dockerfile, problem, place) in cases {
        let result = world.build(&[("Dockerfile", dockerfile), ("a", "A")]).await;
        match result {
            Err(error) => assert!(error.starts_with(place) && error.contains(problem), "{dockerfile}: {error}"),
            Ok(_) => assert_eq!(problem, "", "{dockerfile} was built"),
        }
    }
    let error = world.build(&[("index.html", "")]).await.err().unwrap();
    assert!(
        error.starts_with("there is no Dockerfile; write one, or name another with `build: {dockerfile: …}`"),
        "{error}"
    );
    let rule = BuildRule { target: Some("web".into()), ..BuildRule::default() };
    let error = world.build_with(&[("Dockerfile", "FROM scratch AS a")], rule).await.err().unwrap();
    assert_eq!(error, "Dockerfile: there is no stage \"web\" (build.target); there are a");
    let rule = BuildRule { context: "app".into(), dockerfile: "D".into(), ..BuildRule::default() };
    let error = world.build_with(&[("app/D", "FROM scratch\nCOPY . /"), ("app/.dockerignore", "ok\n[x")], rule).await;
    assert_eq!(error.err().unwrap(), "app/.dockerignore:2: the pattern \"[x\" has a [ without ]");
}
