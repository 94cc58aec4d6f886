{{- define "t.name" -}}
name-{{ .Release.Name }}
{{- end -}}
{{- define "t.args" }}[{{ .a }}]{{ end }}
