//! What is rendered: overlays and charts of the sizes that people have, made up.

use anyhow::Result;
use std::fmt::Write as _;
use std::path::Path;

/// One file, with the directories above it.
fn file(root: &Path, path: &str, text: &str) -> Result<()> {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap_or(root))?;
    Ok(std::fs::write(path, text)?)
}

/// A Deployment and a Service, as a service has them.
fn service(name: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  labels:
    app: {name}
spec:
  replicas: 1
  revisionHistoryLimit: 5
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
      annotations:
        prometheus.io/scrape: \"true\"
    spec:
      serviceAccountName: {name}
      containers:
      - name: {name}
        image: registry.example/{name}:1.0
        ports:
        - name: http
          containerPort: 8080
          protocol: TCP
        env:
        - name: MODE
          value: production
        - name: TOKEN
          valueFrom:
            secretKeyRef:
              name: access
              key: token
        envFrom:
        - configMapRef:
            name: settings
        livenessProbe:
          httpGet: {{path: /healthz, port: http}}
          initialDelaySeconds: 5
        readinessProbe:
          httpGet: {{path: /readyz, port: http}}
        resources:
          requests: {{cpu: 100m, memory: 64Mi}}
          limits: {{cpu: \"2\", memory: 512Mi}}
      volumes:
      - name: data
        emptyDir: {{}}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}
spec:
  selector:
    app: {name}
  ports:
  - name: http
    port: 80
    targetPort: http
"
    )
}

const OVERLAY: &str = "namespace: shop
resources:
- ../base
commonLabels:
  team: shop
images:
- name: registry.example/web0
  newTag: \"2.10\"
patches:
- path: replicas.yaml
";
const PATCH: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: web0
spec:
  replicas: 3
  template:
    spec:
      containers:
      - name: web0
        resources:
          limits:
            memory: 1Gi
";

fn base(root: &Path, services: usize, generated: bool) -> Result<()> {
    let mut kustomization = "resources:\n".to_owned();
    for number in 0..services {
        let _ = writeln!(kustomization, "- web{number}.yaml");
        file(root, &format!("base/web{number}.yaml"), &service(&format!("web{number}")))?;
    }
    if generated {
        kustomization.push_str("configMapGenerator:\n- name: settings\n  literals:\n  - LEVEL=info\n  - COLOR=blue\n");
    }
    file(root, "base/kustomization.yaml", &kustomization)
}

/// `overlay` over `base` of so many services, each of two documents, and a generated ConfigMap.
pub fn overlay(root: &Path, services: usize) -> Result<()> {
    base(root, services, true)?;
    file(root, "overlay/kustomization.yaml", OVERLAY)?;
    file(root, "overlay/replicas.yaml", PATCH)
}

/// `overlay` over `base` of custom resource definitions with so many bytes together.
pub fn definitions(root: &Path, bytes: usize) -> Result<()> {
    let mut kustomization = "resources:\n".to_owned();
    let mut made = 0;
    for number in 0.. {
        if made >= bytes {
            break;
        }
        let text = definition(number);
        made += text.len();
        let _ = writeln!(kustomization, "- crd{number}.yaml");
        file(root, &format!("base/crd{number}.yaml"), &text)?;
    }
    file(root, "base/kustomization.yaml", &kustomization)?;
    file(root, "overlay/kustomization.yaml", "resources:\n- ../base\ncommonLabels:\n  team: shop\n")
}

fn definition(number: usize) -> String {
    let mut text = format!(
        "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: things{number}.example.com
spec:
  group: example.com
  names:
    kind: Thing{number}
    listKind: Thing{number}List
    plural: things{number}
    singular: thing{number}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          apiVersion:
            type: string
          kind:
            type: string
          metadata:
            type: object
"
    );
    for part in ["spec", "status"] {
        let _ = writeln!(text, "          {part}:\n            type: object\n            properties:");
        properties(&mut text, 14, 3);
    }
    text
}

/// Fields with descriptions, down to a depth, as generators of definitions write them.
fn properties(text: &mut String, indent: usize, depth: usize) {
    let pad = " ".repeat(indent);
    for number in 0..7 {
        let _ = write!(
            text,
            "{pad}field{number}:
{pad}  description: |-
{pad}    Field {number} says how a thing behaves when what it stands for has changed.
{pad}    If it is absent, the value of the thing above it counts. More info: https://example.com/docs/things
"
        );
        if depth > 0 {
            let _ = writeln!(text, "{pad}  type: object\n{pad}  properties:");
            properties(text, indent + 4, depth - 1);
        } else {
            let _ = writeln!(text, "{pad}  type: string\n{pad}  pattern: ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$");
        }
    }
}

/// `overlays/env0` and so on over one base of 25 documents.
pub fn environments(root: &Path, count: usize) -> Result<()> {
    base(root, 12, true)?;
    for number in 0..count {
        let overlay = OVERLAY.replace("../base", "../../base").replace("shop", &format!("shop-{number}"));
        file(root, &format!("overlays/env{number}/kustomization.yaml"), &overlay)?;
        file(root, &format!("overlays/env{number}/replicas.yaml"), PATCH)?;
    }
    Ok(())
}

/// How a chart is made up: its size is that of a well-known one.
pub struct Size {
    /// Of the chart.
    pub name: &'static str,
    /// Parts, each of which makes five documents.
    parts: usize,
    /// Bytes of custom resource definitions among the templates.
    definitions: usize,
    /// Lines of values that nothing reads.
    values: usize,
}

/// The charts that issue and notes name.
pub const CHARTS: &[Size] = &[
    Size { name: "podinfo", parts: 1, definitions: 0, values: 150 },
    Size { name: "ingress-nginx", parts: 4, definitions: 0, values: 900 },
    Size { name: "postgresql", parts: 5, definitions: 0, values: 1500 },
    Size { name: "argo-cd", parts: 14, definitions: 1_800_000, values: 3500 },
    Size { name: "kube-prometheus-stack", parts: 30, definitions: 4_500_000, values: 5000 },
    Size { name: "cilium", parts: 24, definitions: 0, values: 4000 },
];

const HELPERS: &str = r#"{{- define "made.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}
{{- define "made.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "made.selector" . }}
{{- if .Chart.AppVersion }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- define "made.selector" -}}
app.kubernetes.io/name: {{ include "made.fullname" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
"#;

const TEMPLATE: &str = r#"{{- $part := index .Values.parts "PART" }}
{{- if $part.enabled }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "made.fullname" . }}-PART
  namespace: {{ .Release.Namespace }}
  labels: {{- include "made.labels" . | nindent 4 }}
spec:
  {{- if not $part.autoscaling.enabled }}
  replicas: {{ $part.replicas }}
  {{- end }}
  selector:
    matchLabels: {{- include "made.selector" . | nindent 6 }}
      part: PART
  template:
    metadata:
      annotations:
        checksum/config: {{ include (print $.Template.BasePath "/PART-config.yaml") . | sha256sum }}
        {{- range $key, $value := $part.annotations }}
        {{ $key }}: {{ tpl $value $ | quote }}
        {{- end }}
      labels: {{- include "made.selector" . | nindent 8 }}
        part: PART
    spec:
      {{- with $part.securityContext }}
      securityContext: {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: PART
          image: "{{ $part.image.repository }}:{{ $part.image.tag | default .Chart.AppVersion }}"
          imagePullPolicy: {{ $part.image.pullPolicy }}
          args:
          {{- range $part.args }}
            - {{ . | quote }}
          {{- end }}
          {{- if semverCompare ">=1.20-0" .Capabilities.KubeVersion.Version }}
          startupProbe: {{- toYaml $part.probe | nindent 12 }}
          {{- end }}
          livenessProbe: {{- toYaml $part.probe | nindent 12 }}
          readinessProbe: {{- toYaml $part.probe | nindent 12 }}
          ports:
          {{- range $part.ports }}
            - name: {{ .name }}
              containerPort: {{ .port | int }}
              protocol: {{ .protocol | default "TCP" | upper }}
          {{- end }}
          resources: {{- toYaml $part.resources | nindent 12 }}
      {{- with $part.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "made.fullname" . }}-PART
  labels: {{- include "made.labels" . | nindent 4 }}
spec:
  type: {{ $part.service.type }}
  ports:
  {{- range $index, $port := $part.ports }}
    - {name: {{ $port.name }}, port: {{ add 80 $index }}, targetPort: {{ $port.name }}}
  {{- end }}
  selector: {{- include "made.selector" . | nindent 4 }}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "made.fullname" . }}-PART
  labels: {{- include "made.labels" . | nindent 4 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ include "made.fullname" . }}-PART
rules: {{- toYaml $part.rules | nindent 2 }}
{{- end }}
"#;

const CONFIG: &str = r#"{{- $part := index .Values.parts "PART" -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "made.fullname" . }}-PART
  labels: {{- include "made.labels" . | nindent 4 }}
data:
  config.yaml: |
    {{- $config := merge (dict "name" (include "made.fullname" .)) $part.config }}
    {{- tpl (toYaml $config) . | nindent 4 }}
  lines.txt: {{ $part.args | join "," | quote }}
"#;

const PART: &str = r#"
    enabled: true
    replicas: 2
    autoscaling: {enabled: false}
    image: {repository: registry.example/PART, tag: "", pullPolicy: IfNotPresent}
    annotations: {release: "{{ .Release.Name }}", chart: "{{ .Chart.Name }}"}
    args: [--listen, "0.0.0.0:8080", --level, info, --color]
    securityContext: {runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
    probe: {httpGet: {path: /healthz, port: http}, initialDelaySeconds: 5, periodSeconds: 10, failureThreshold: 6}
    ports: [{name: http, port: 8080}, {name: metrics, port: 9090, protocol: tcp}]
    resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: "1", memory: 256Mi}}
    tolerations: [{key: node, operator: Exists, effect: NoSchedule}]
    service: {type: ClusterIP}
    rules:
    - {apiGroups: [""], resources: [pods, services, endpoints, secrets], verbs: [get, list, watch]}
    - {apiGroups: [apps], resources: [deployments, daemonsets, statefulsets], verbs: [get, list, watch, update]}
    config:
      listen: {address: 0.0.0.0, port: 8080, timeout: 30s}
      upstreams: [{name: one, url: "http://{{ .Release.Name }}-one"}, {name: two, url: http://two.example}]
      logging: {level: info, format: json, fields: {service: PART, release: "{{ .Release.Name }}"}}
"#;

/// A chart of such a size.
pub fn chart(root: &Path, size: &Size) -> Result<()> {
    let name = size.name;
    file(root, "Chart.yaml", &format!("apiVersion: v2\nname: {name}\nversion: 1.2.3\nappVersion: \"4.5\"\n"))?;
    file(root, "templates/_helpers.tpl", HELPERS)?;
    let mut values = "nameOverride: \"\"\nfullnameOverride: \"\"\ncommonLabels: {team: shop}\nparts:\n".to_owned();
    for number in 0..size.parts {
        let part = format!("part{number}");
        let put = |text: &str| text.replace("PART", &part);
        file(root, &format!("templates/{part}.yaml"), &put(TEMPLATE))?;
        file(root, &format!("templates/{part}-config.yaml"), &put(CONFIG))?;
        let _ = write!(values, "  {part}:{}", put(PART));
    }
    values.push_str("unread:\n");
    for number in 0..size.values {
        // As in charts that people write: most of it is comments.
        let _ = match number % 3 {
            0 => writeln!(values, "  ## @param unread.value{number} What nothing reads, described at some length"),
            1 => writeln!(values, "  value{number}: a text"),
            _ => writeln!(values, "  list{number}: [1, 2.5, \"three\", {{four: true}}]"),
        };
    }
    file(root, "values.yaml", &values)?;
    let mut made = 0;
    for number in 0.. {
        if made >= size.definitions {
            break;
        }
        let text = definition(number);
        made += text.len();
        let guarded = format!("{{{{- if .Values.parts.part0.enabled }}}}\n{text}{{{{- end }}}}\n");
        file(root, &format!("templates/crds/crd{number}.yaml"), &guarded)?;
    }
    Ok(())
}
