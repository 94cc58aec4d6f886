//! The registry: by its protocol, by our own client, and by the tools that people use.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use oci::registry::{Access, Basic, Decision, RegistryAuth, router};
use oci::*;
use tower::ServiceExt;

const HOST: &str = "registry.example";

/// Everyone may pull from `open/…`; `alice:secret` may do all but delete.
struct Rules;

#[async_trait]
impl RegistryAuth for Rules {
    async fn decide(&self, credentials: Option<&Basic>, repository: Option<&str>, access: Access) -> Decision {
        let public = repository.is_some_and(|name| name.starts_with("open/")) && access == Access::Pull;
        match credentials {
            _ if public => Decision::Allow,
            Some(Basic { user, password }) if user == "alice" && password == "secret" => match access {
                Access::Delete => Decision::Denied,
                _ => Decision::Allow,
            },
            _ => Decision::Unauthorized,
        }
    }
}

struct Anyone;

#[async_trait]
impl RegistryAuth for Anyone {
    async fn decide(&self, _: Option<&Basic>, _: Option<&str>, _: Access) -> Decision {
        Decision::Allow
    }
}

struct World {
    directory: tempfile::TempDir,
    store: Store,
    router: axum::Router,
}

impl World {
    fn new(auth: Arc<dyn RegistryAuth>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let limits = Limits { manifest_bytes_max: 100_000, blob_bytes_max: 4 << 20, ..Limits::default() };
        let store = Store::open_with(directory.path().join("oci"), limits).unwrap();
        Self { router: router(store.clone(), HOST, auth), directory, store }
    }

    async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, self.router.clone()).into_future());
        address
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response: Response<Body> = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 10 << 20).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body: bytes.to_vec() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], Body::empty()).await
    }

    async fn upload(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let answer = self
            .ask(Method::POST, &format!("/v2/{repository}/blobs/uploads/?digest={digest}"), &[], bytes.to_vec())
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        digest
    }

    /// A manifest over one empty layer.
    async fn manifest(&self, repository: &str) -> String {
        let layer = self.upload(repository, &[0; 1024]).await;
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":null,"rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
        );
        let config_digest = self.upload(repository, config.as_bytes()).await;
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"{}","digest":"{layer}","size":1024}}]}}"#,
            media_type::MANIFEST,
            media_type::CONFIG,
            config.len(),
            media_type::LAYER,
        )
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[tokio::test]
async fn blobs_arrive_in_chunks_and_leave_in_ranges() {
    let world = World::new(Arc::new(Anyone));
    let started = world.ask(Method::POST, "/v2/shop/web/blobs/uploads/", &[], Body::empty()).await;
    assert_eq!(started.status, StatusCode::ACCEPTED);
    let upload = started.header("location").to_owned();
    let patch = async |range: &str, text: &'static str| {
        world.ask(Method::PATCH, &upload, &[("content-range", range)], text).await
    };
    assert_eq!(patch("0-4", "hello").await.header("range"), "0-4");
    assert_eq!(patch("9-9", "x").await.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let status = world.get(&upload).await;
    assert_eq!((status.status, status.header("range")), (StatusCode::NO_CONTENT, "0-4"));
    assert_eq!(
        world.get(&upload.replace("shop", "other")).await.status,
        StatusCode::NOT_FOUND,
        "an upload belongs to its repository"
    );
    let digest = Digest::of(b"hello world");
    let done = world
        .ask(Method::PUT, &format!("{upload}?digest={}", digest.as_str().replace(':', "%3A")), &[], " world")
        .await;
    assert_eq!((done.status, done.header("docker-content-digest")), (StatusCode::CREATED, digest.as_str()));
    assert_eq!(world.get(&upload).await.status, StatusCode::NOT_FOUND);

    let path = done.header("location").to_owned();
    assert_eq!(world.get(&path).await.text(), "hello world");
    let head = world.ask(Method::HEAD, &path, &[], Body::empty()).await;
    assert_eq!((head.header("content-length"), head.body.len()), ("11", 0));
    let part = world.ask(Method::GET, &path, &[("range", "bytes=6-8")], Body::empty()).await;
    assert_eq!(
        (part.status, part.text().as_str(), part.header("content-range")),
        (StatusCode::PARTIAL_CONTENT, "wor", "bytes 6-8/11")
    );

    let wrong = world.ask(Method::POST, &format!("/v2/a/blobs/uploads/?digest={}", Digest::of(b"a")), &[], "b").await;
    assert_eq!((wrong.status, wrong.text().contains("DIGEST_INVALID")), (StatusCode::BAD_REQUEST, true));
    let large = world.ask(Method::POST, &format!("/v2/a/blobs/uploads/?digest={digest}"), &[], vec![0; 5 << 20]).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    let cancelled =
        world.ask(Method::POST, "/v2/a/blobs/uploads/", &[], Body::empty()).await.header("location").to_owned();
    assert_eq!(world.ask(Method::DELETE, &cancelled, &[], Body::empty()).await.status, StatusCode::NO_CONTENT);
    assert_eq!(std::fs::read_dir(world.directory.path().join("oci/temporary")).unwrap().count(), 0);
}

#[tokio::test]
async fn manifests_name_what_is_there() {
    let world = World::new(Arc::new(Anyone));
    let manifest = world.manifest("shop/web").await;
    let put = async |path: &str, body: &str| {
        world.ask(Method::PUT, path, &[("content-type", media_type::MANIFEST)], body.to_owned()).await
    };
    let done = put("/v2/shop/web/manifests/1", &manifest).await;
    let digest = Digest::of(manifest.as_bytes());
    assert_eq!((done.status, done.header("docker-content-digest")), (StatusCode::CREATED, digest.as_str()));
    for path in ["/v2/shop/web/manifests/1".to_owned(), format!("/v2/shop/web/manifests/{digest}")] {
        let got = world.get(&path).await;
        assert_eq!((got.text(), got.header("content-type")), (manifest.clone(), media_type::MANIFEST));
    }
    assert_eq!(world.store.resolve(&format!("{HOST}/shop/web:1").parse().unwrap()).unwrap(), digest);
    assert_eq!(world.get(&format!("/v2/other/manifests/{digest}")).await.status, StatusCode::NOT_FOUND);

    let absent = manifest.replace(Digest::of(&[0; 1024]).hex(), Digest::of(b"absent").hex());
    let cases = [
        (put("/v2/a/manifests/1", &absent).await, StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
        (put("/v2/a/manifests/1", "nonsense").await, StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
        (put("/v2/a/manifests/1", &" ".repeat(100_001)).await, StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID"),
        (
            put(&format!("/v2/a/manifests/{}", Digest::of(b"")), &manifest).await,
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
        ),
        (put("/v2/A/manifests/1", &manifest).await, StatusCode::BAD_REQUEST, "NAME_INVALID"),
        (world.get("/v2/shop/web/manifests/2").await, StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        (world.get("/v2/none/tags/list").await, StatusCode::NOT_FOUND, "NOT_FOUND"),
    ];
    for (answer, status, code) in cases {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.text().contains(code), "{answer:?}");
    }

    for tag in ["2", "3", "latest"] {
        put(&format!("/v2/shop/web/manifests/{tag}"), &manifest).await;
    }
    assert_eq!(
        world.get("/v2/shop/web/tags/list").await.text(),
        r#"{"name":"shop/web","tags":["1","2","3","latest"]}"#
    );
    let page = world.get("/v2/shop/web/tags/list?n=2&last=1").await;
    assert_eq!(page.text(), r#"{"name":"shop/web","tags":["2","3"]}"#);
    assert_eq!(page.header("link"), "</v2/shop/web/tags/list?n=2&last=3>; rel=\"next\"");
    assert_eq!(world.get("/v2/_catalog").await.text(), r#"{"repositories":["shop/web"]}"#);
    assert!(world.get(&format!("/v2/shop/web/referrers/{digest}")).await.text().contains(r#""manifests":[]"#));

    let mount = format!("/v2/shop/api/blobs/uploads/?mount={}&from=shop/web", Digest::of(&[0; 1024]));
    assert_eq!(world.ask(Method::POST, &mount, &[], Body::empty()).await.status, StatusCode::CREATED);
    assert_eq!(
        world.ask(Method::POST, &mount.replace("shop/web", "none"), &[], Body::empty()).await.status,
        StatusCode::ACCEPTED
    );
    let delete = async |target: &str| {
        world.ask(Method::DELETE, &format!("/v2/shop/web/manifests/{target}"), &[], Body::empty()).await.status
    };
    assert_eq!((delete("1").await, delete("1").await), (StatusCode::ACCEPTED, StatusCode::NOT_FOUND));
    assert_eq!(delete(digest.as_str()).await, StatusCode::ACCEPTED);
    assert_eq!(world.get("/v2/shop/web/manifests/2").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn rights_are_asked_for_each_request() {
    let world = World::new(Arc::new(Rules));
    let anonymous = world.get("/v2/").await;
    assert_eq!(
        (anonymous.status, anonymous.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, "Basic realm=\"trimtab\"")
    );
    let alice = ("authorization", "Basic YWxpY2U6c2VjcmV0");
    let mallory = ("authorization", "Basic YWxpY2U6d3Jvbmc=");
    assert_eq!(world.ask(Method::GET, "/v2/", &[alice], Body::empty()).await.status, StatusCode::OK);
    assert_eq!(world.ask(Method::GET, "/v2/", &[mallory], Body::empty()).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.get("/v2/open/a/tags/list").await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        world.ask(Method::POST, "/v2/open/a/blobs/uploads/", &[], Body::empty()).await.status,
        StatusCode::UNAUTHORIZED
    );
    let denied = world.ask(Method::DELETE, "/v2/a/manifests/1", &[alice], Body::empty()).await;
    assert_eq!((denied.status, denied.text().contains("you may not write a")), (StatusCode::FORBIDDEN, true));
}

/// An image with one file, in a store of its own.
async fn local_image() -> (tempfile::TempDir, Store, Digest) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("oci")).unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2_000_000);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    builder.append_data(&mut header, "file", &vec![b'x'; 2_000_000][..]).unwrap();
    let layer = store.add_layer(Cursor::new(builder.into_inner().unwrap())).await.unwrap();
    let mut config = ImageConfig::empty();
    config.config.labels.insert("who".to_owned(), "us".to_owned());
    config.rootfs.diff_ids = vec![layer.diff_id.clone()];
    let digest = store.put_image(&serde_json::to_vec(&config).unwrap(), &[layer]).unwrap();
    (directory, store, digest)
}

#[tokio::test]
async fn our_client_pushes_and_pulls() {
    let world = World::new(Arc::new(Rules));
    let address = world.serve().await;
    let (_directory, local, digest) = local_image().await;
    let name: Reference = format!("{address}/shop/web:1").parse().unwrap();
    let lines = Mutex::new(Vec::new());
    let note = |line: &str| lines.lock().unwrap().push(line.to_owned());
    let alice = Credentials::Basic { user: "alice".to_owned(), password: "secret".to_owned() };
    let refused = local.push(&digest, &name, &Credentials::Anonymous, &note).await.unwrap_err();
    assert!(!refused.to_string().contains("secret"));
    local.push(&digest, &name, &alice, &note).await.unwrap();
    assert_eq!(lines.lock().unwrap().len(), 2);
    local.push(&digest, &name, &alice, &note).await.unwrap();
    assert_eq!(lines.lock().unwrap().len(), 2, "what is there is not pushed again");

    let other = World::new(Arc::new(Anyone));
    for pulled in [name.clone(), format!("{address}/shop/web@{digest}").parse().unwrap()] {
        assert_eq!(other.store.pull(&pulled, &alice, &note).await.unwrap(), digest);
        assert_eq!(other.store.resolve(&pulled).unwrap(), digest);
    }
    assert_eq!(lines.lock().unwrap().len(), 4);
    assert_eq!(other.store.image(&digest).unwrap(), local.image(&digest).unwrap());

    // An index: the image for this machine is chosen.
    let size = local.blob_size(&digest).unwrap();
    let entry = |architecture: &str, digest: &Digest| {
        format!(
            r#"{{"mediaType":"{}","digest":"{digest}","size":{size},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#,
            media_type::MANIFEST
        )
    };
    let stranger = world.store.put_blob(b"{}").unwrap();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        entry("s390x", &stranger),
        entry(Platform::host().architecture.as_str(), &digest)
    );
    let index_digest = world.store.put_blob(index.as_bytes()).unwrap();
    world.store.tag(&format!("{HOST}/shop/web:all").parse().unwrap(), &index_digest).unwrap();
    let fresh = World::new(Arc::new(Anyone));
    let by_digest: Reference = format!("{address}/shop/web@{index_digest}").parse().unwrap();
    assert_eq!(fresh.store.pull(&by_digest, &alice, &note).await.unwrap(), digest);
    assert_eq!(fresh.store.image(&fresh.store.resolve(&by_digest).unwrap()).unwrap().digest, digest);
    let missing = fresh.store.pull(&format!("{address}/shop/web:9").parse().unwrap(), &alice, &note).await.unwrap_err();
    assert!(missing.to_string().contains("shop/web:9"), "{missing}");
}

/// Runs a tool without what it would leave in /var/lib.
fn run(program: &str, args: &[&str], home: &Path) -> String {
    let auth = home.join("auth.json");
    std::fs::write(&auth, "{}").unwrap();
    let hidden = "mount -t tmpfs none /var/lib && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", hidden, "sh", program])
        .args(args)
        .env("HOME", home)
        .env("REGISTRY_AUTH_FILE", auth)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "root: needs skopeo and buildah"]
async fn skopeo_and_buildah_push_and_pull() {
    let world = World::new(Arc::new(Rules));
    let address = world.serve().await;
    let (directory, local, digest) = local_image().await;
    let archive = directory.path().join("image.tar");
    let name: Reference = "example.org/a:1".parse().unwrap();
    drop(local.export(vec![(name, digest.clone())], std::fs::File::create(&archive).unwrap()).await.unwrap());
    let home = directory.path().to_owned();
    tokio::task::spawn_blocking(move || {
        let remote = format!("docker://{address}/shop/web:1");
        let source = format!("oci-archive:{}", archive.display());
        let credentials = ["--dest-creds=alice:secret", "--src-creds=alice:secret", "--creds=alice:secret"];
        run(
            "skopeo",
            &["--insecure-policy", "copy", "--dest-tls-verify=false", credentials[0], &source, &remote],
            &home,
        );
        let inspected = run("skopeo", &["inspect", "--tls-verify=false", credentials[2], &remote], &home);
        assert!(inspected.contains(r#""who": "us""#), "{inspected}");
        let gzip = format!("docker://{address}/shop/web:gzip");
        run(
            "skopeo",
            &[
                "--insecure-policy",
                "copy",
                "--format=v2s2",
                "--dest-compress",
                "--dest-tls-verify=false",
                "--src-tls-verify=false",
                credentials[0],
                credentials[1],
                &remote,
                &gzip,
            ],
            &home,
        );
        let back = format!("docker-archive:{}:back:1", home.join("back.tar").display());
        run("skopeo", &["--insecure-policy", "copy", "--src-tls-verify=false", credentials[1], &gzip, &back], &home);

        let storage = home.join("containers");
        let roots = [
            format!("--root={}", storage.join("root").display()),
            format!("--runroot={}", storage.join("run").display()),
            "--storage-driver=vfs".to_owned(),
        ];
        let buildah = |args: &[&str]| {
            run("buildah", &roots.iter().map(String::as_str).chain(args.iter().copied()).collect::<Vec<_>>(), &home)
        };
        let container =
            buildah(&["from", "--quiet", "--tls-verify=false", credentials[2], &format!("{address}/shop/web:1")]);
        let container = container.lines().next().unwrap().trim().to_owned();
        buildah(&["config", "--label", "by=buildah", &container]);
        buildah(&["commit", "--quiet", &container, "built"]);
        buildah(&[
            "push",
            "--tls-verify=false",
            credentials[2],
            "built",
            &format!("docker://{address}/shop/web:built"),
        ]);
        buildah(&["rm", "--all"]);
        buildah(&["rmi", "--all", "--force"]);
        home
    })
    .await
    .map(|home| import_back(directory, home))
    .unwrap()
    .await;

    let tags: BTreeSet<String> = world.store.tags().unwrap().into_iter().filter_map(|(name, _)| name.tag).collect();
    assert_eq!(tags, BTreeSet::from(["1", "built", "gzip"].map(String::from)));
    for (name, digest) in world.store.tags().unwrap() {
        let image = world.store.image(&digest).unwrap();
        let layers = world.store.layer_paths(&image).await.unwrap();
        assert_eq!(std::fs::metadata(layers[0].join("file")).unwrap().len(), 2_000_000, "{name}");
    }
}

/// What skopeo saved as docker does, we import.
async fn import_back(_keep: tempfile::TempDir, home: std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("oci")).unwrap();
    let imported = store.import(&home.join("back.tar"), None).await.unwrap();
    assert_eq!(imported[0].references, ["back:1".parse().unwrap()]);
}
