use super::*;
use model::config::{Override, Resources};
use model::{ComponentFile, Digest, EnvironmentFile, ImageRef, Pin};
use serde_json::{Value, json};

fn component(more: Value) -> ComponentFile {
    let mut file = json!({"project": "shop", "component": "web"});
    for (key, value) in more.as_object().expect("a table") {
        file[key] = value.clone();
    }
    serde_json::from_value(file).expect("a component")
}

fn pin() -> Pin {
    let commit = "91bc000000000000000000000000000000000000";
    Pin {
        build: "web-42".parse().unwrap(),
        source: commit.parse().unwrap(),
        image: Some(ImageRef::recorded(&"shop".parse().unwrap(), &"web".parse().unwrap(), &Digest::of(b"image"))),
        chart: None,
        config: commit.parse().unwrap(),
    }
}

fn rendered(component: &ComponentFile, file: &EnvironmentFile) -> Result<model::Manifests, Error> {
    let settings = settings::Settings::default();
    render(&Input { component, pin: &pin(), environment: &"dev".parse().unwrap(), file, settings: &settings })
}

fn text(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn a_service_with_one_endpoint() {
    let component = component(json!({"endpoints": {"http": {"port": 8080, "visibility": "public"}}}));
    let manifests = rendered(&component, &EnvironmentFile::default()).unwrap();
    assert!(manifests.notes.is_empty());
    assert_eq!(public_endpoint(&component).unwrap().0, "http");
    insta::assert_snapshot!(text(&json!(manifests.objects)), @r#"
    [
      {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
          "name": "web",
          "namespace": "shop-dev",
          "labels": {
            "app.kubernetes.io/name": "web",
            "app.kubernetes.io/instance": "web-dev",
            "app.kubernetes.io/version": "web-42",
            "app.kubernetes.io/managed-by": "trimtab",
            "trimtab.dev/project": "shop",
            "trimtab.dev/environment": "dev",
            "trimtab.dev/component": "web"
          }
        },
        "spec": {
          "selector": {
            "trimtab.dev/project": "shop",
            "trimtab.dev/environment": "dev",
            "trimtab.dev/component": "web"
          },
          "ports": [
            {
              "name": "http",
              "port": 8080,
              "targetPort": "http",
              "protocol": "TCP"
            }
          ]
        }
      },
      {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
          "name": "web",
          "namespace": "shop-dev",
          "labels": {
            "app.kubernetes.io/name": "web",
            "app.kubernetes.io/instance": "web-dev",
            "app.kubernetes.io/version": "web-42",
            "app.kubernetes.io/managed-by": "trimtab",
            "trimtab.dev/project": "shop",
            "trimtab.dev/environment": "dev",
            "trimtab.dev/component": "web"
          }
        },
        "spec": {
          "replicas": 1,
          "selector": {
            "matchLabels": {
              "trimtab.dev/project": "shop",
              "trimtab.dev/environment": "dev",
              "trimtab.dev/component": "web"
            }
          },
          "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {
              "maxUnavailable": 0,
              "maxSurge": 1
            }
          },
          "revisionHistoryLimit": 3,
          "progressDeadlineSeconds": 120,
          "template": {
            "metadata": {
              "labels": {
                "app.kubernetes.io/name": "web",
                "app.kubernetes.io/instance": "web-dev",
                "app.kubernetes.io/version": "web-42",
                "app.kubernetes.io/managed-by": "trimtab",
                "trimtab.dev/project": "shop",
                "trimtab.dev/environment": "dev",
                "trimtab.dev/component": "web"
              },
              "annotations": {
                "trimtab.dev/build": "web-42",
                "trimtab.dev/template": "e8f0c37ac73bd417"
              }
            },
            "spec": {
              "automountServiceAccountToken": false,
              "enableServiceLinks": false,
              "containers": [
                {
                  "name": "web",
                  "image": "registry.trimtab.internal/shop/web@sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d",
                  "ports": [
                    {
                      "name": "http",
                      "containerPort": 8080,
                      "protocol": "TCP"
                    }
                  ],
                  "readinessProbe": {
                    "tcpSocket": {
                      "port": "http"
                    },
                    "periodSeconds": 1,
                    "timeoutSeconds": 2
                  },
                  "securityContext": {
                    "allowPrivilegeEscalation": false
                  }
                }
              ]
            }
          }
        }
      }
    ]
    "#);
}

#[test]
fn everything_that_can_be_set() {
    let component = component(json!({
        "type": "worker",
        "endpoints": {"http": {"port": 8080}, "admin": {"port": 9090}},
        "workload": {
            "replicas": 2, "command": ["/bin/x"], "args": ["-v"], "env": {"A": "1", "B": "$(A)"},
            "resources": {"cpu": "500m", "memory": "64Mi"}, "ready": {"path": "/healthz"},
        },
    }));
    let mut file = EnvironmentFile::default();
    let differs = Override { replicas: Some(3), env: [("A".into(), "2".into()), ("C".into(), "x".into())].into() };
    file.overrides.insert("web".parse().unwrap(), differs);
    let manifests = rendered(&component, &file).unwrap();
    assert_eq!(manifests.objects[1]["spec"]["replicas"], 3);
    insta::assert_snapshot!(text(&manifests.objects[1]["spec"]["template"]["spec"]), @r#"
    {
      "automountServiceAccountToken": false,
      "enableServiceLinks": false,
      "containers": [
        {
          "name": "web",
          "image": "registry.trimtab.internal/shop/web@sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d",
          "command": [
            "/bin/x"
          ],
          "args": [
            "-v"
          ],
          "env": [
            {
              "name": "A",
              "value": "2"
            },
            {
              "name": "B",
              "value": "$$(A)"
            },
            {
              "name": "C",
              "value": "x"
            }
          ],
          "ports": [
            {
              "name": "admin",
              "containerPort": 9090,
              "protocol": "TCP"
            },
            {
              "name": "http",
              "containerPort": 8080,
              "protocol": "TCP"
            }
          ],
          "resources": {
            "limits": {
              "cpu": "500m",
              "memory": "64Mi"
            }
          },
          "readinessProbe": {
            "httpGet": {
              "path": "/healthz",
              "port": "admin"
            },
            "periodSeconds": 1,
            "timeoutSeconds": 2
          },
          "securityContext": {
            "allowPrivilegeEscalation": false
          }
        }
      ]
    }
    "#);
}

#[test]
fn the_namespace_is_claimed_by_its_project() {
    insta::assert_snapshot!(namespace(&"shop".parse().unwrap(), &"dev".parse().unwrap()), @r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop-dev","labels":{"app.kubernetes.io/managed-by":"trimtab","trimtab.dev/project":"shop","trimtab.dev/environment":"dev"}}}"#);
}

#[test]
fn a_host_is_under_the_environments_domain() {
    for (domain, host) in [(None, "web.dev.shop.localhost"), (Some("qa.example.com"), "web.qa.example.com")] {
        let file = EnvironmentFile { domain: domain.map(|d| d.parse().unwrap()), ..EnvironmentFile::default() };
        let web = "web".parse().unwrap();
        assert_eq!(public_host(&web, &"dev".parse().unwrap(), &"shop".parse().unwrap(), &file), host);
    }
}

#[test]
fn equal_input_gives_equal_bytes_and_other_input_another_template() {
    let annotation = |c: &ComponentFile, f: &EnvironmentFile| {
        let manifests = rendered(c, f).unwrap();
        manifests.objects[0]["spec"]["template"]["metadata"]["annotations"]["trimtab.dev/template"].clone()
    };
    let plain = component(json!({}));
    let mut more = EnvironmentFile::default();
    let differs = |replicas, env: &[(&str, &str)]| Override {
        replicas,
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    };
    more.overrides.insert("web".parse().unwrap(), differs(Some(5), &[]));
    assert_eq!(annotation(&plain, &EnvironmentFile::default()), annotation(&plain, &more), "scaling rolls nothing");
    more.overrides.insert("web".parse().unwrap(), differs(None, &[("A", "1")]));
    assert_ne!(annotation(&plain, &EnvironmentFile::default()), annotation(&plain, &more), "a variable rolls");
    assert_eq!(rendered(&plain, &more).unwrap().digest(), rendered(&plain, &more).unwrap().digest());
    assert_eq!(rendered(&plain, &more).unwrap().notes, ["component web has no endpoint: nothing can reach it"]);
}

#[test]
fn what_no_object_can_be_made_of_is_refused_with_its_field() {
    let endpoint = |name: &str, port: u16| json!({"endpoints": {name: {"port": port}}});
    let cases = [
        (
            endpoint("HTTP", 1),
            "endpoints.HTTP: the name must have at most 15 of a-z, 0-9 and single '-' inside, one a letter at least",
        ),
        (endpoint("http", 0), "endpoints.http.port: must be 1 to 65535"),
        (
            json!({"endpoints": {"a": {"port": 80}, "b": {"port": 80}}}),
            "endpoints.b.port: 80 is the port of endpoint a already",
        ),
        (
            json!({"endpoints": {"a": {"port": 80, "visibility": "public"}, "b": {"port": 81, "visibility": "public"}}}),
            "endpoints.b.visibility: only one endpoint of a component can be public",
        ),
        (json!({"workload": {"ready": {}}}), "workload.ready: needs an endpoint, whose port it asks"),
        (
            json!({"endpoints": {"a": {"port": 80}}, "workload": {"ready": {"path": "x"}}}),
            "workload.ready.path: must begin with '/'",
        ),
        (
            json!({"workload": {"env": {"A B": "1"}}}),
            "workload.env: \"A B\" is no name of a variable (printable ASCII without '=' and blanks)",
        ),
    ];
    for (file, expect) in cases {
        let error = rendered(&component(file), &EnvironmentFile::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("component web: {expect}"));
    }
    for (quantity, good) in [
        ("1", true),
        ("0.5", true),
        ("64Mi", true),
        ("1.5Gi", true),
        ("", false),
        ("64MB", false),
        ("x", false),
        ("-1", false),
        ("1.2.3", false),
    ] {
        let mut file = component(json!({}));
        file.workload.resources = Resources { cpu: None, memory: Some(quantity.into()) };
        assert_eq!(rendered(&file, &EnvironmentFile::default()).is_ok(), good, "{quantity:?}");
    }
}

fn snapshot(files: &[(&str, &[u8])]) -> model::Snapshot {
    use model::flow::{File, FileMode, Repository, Revision};
    let repository = Repository { project: "shop".parse().unwrap(), name: "web".into() };
    let commit = "91bc000000000000000000000000000000000000".parse().unwrap();
    let file =
        |(path, bytes): &(&str, &[u8])| ((*path).to_owned(), File { mode: FileMode::Regular, bytes: (*bytes).into() });
    model::Snapshot { revision: Revision { repository, commit }, files: files.iter().map(file).collect() }
}

#[test]
fn plain_files_become_objects_in_order() {
    let object = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    let several = format!("# nothing\n---\n{}---\n{}---\n", object("b"), object("a"));
    let list =
        "apiVersion: v1\nkind: ConfigMapList\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}\n";
    let custom = "apiVersion: x.dev/v1\nkind: AllowList\nmetadata: {name: d}\nitems: []\n";
    let files: [(&str, &[u8]); 4] = [
        ("z.yaml", several.as_bytes()),
        ("a/list.yml", list.as_bytes()),
        ("b.yaml", custom.as_bytes()),
        ("README.md", b"hi"),
    ];
    let manifests = plain(&snapshot(&files)).unwrap();
    let names: Vec<_> = manifests.objects.iter().map(|o| model::ObjectId::of(o).to_string()).collect();
    assert_eq!(names, ["ConfigMap c", "AllowList.x.dev d", "ConfigMap b", "ConfigMap a"]);
    assert_eq!(manifests.notes, ["README.md is left out: it is neither .yaml nor .yml nor .json"]);
}

#[test]
fn what_is_no_manifest_is_refused_with_file_and_line() {
    let twice = "apiVersion: v1\nkind: A\nmetadata: {name: x}\n---\napiVersion: v1\nkind: A\nmetadata: {name: x}\n";
    let cases: [(&[u8], &str); 7] = [
        (b"a: [1\n", "m.yaml:"),
        (b"\n\n- a\n", "m.yaml:3: an object is a map with apiVersion, kind and metadata; this is a list"),
        (b"kind: A\n", "m.yaml:1: apiVersion is missing"),
        (b"apiVersion: v1\nkind: 3\n", "m.yaml:1: kind must be a text, and is a number"),
        (b"a: 1\n\xff\n", "m.yaml:2: the file is not UTF-8"),
        (
            b"apiVersion: v1\nkind: List\nitems: [1]\n",
            "m.yaml:1: an item of the list must be a map with apiVersion, kind and metadata; it is a number",
        ),
        (twice.as_bytes(), "m.yaml:5: A x stands in m.yaml:1 already"),
    ];
    for (bytes, expect) in cases {
        let error = plain(&snapshot(&[("m.yaml", bytes)])).unwrap_err().to_string();
        assert!(error.starts_with(expect), "{error}\nis not\n{expect}");
    }
}
