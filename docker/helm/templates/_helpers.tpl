{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "gateway.serviceAccount" -}}
{{ .Values.serviceAccount.name | default .Release.Name }}
{{- end }}

{{/* The settings as TOML. Texts, numbers and lists have the same form in JSON and TOML. */}}
{{- define "gateway.settings" -}}
{{- range $section, $settings := omit .Values.settings "registries" }}
[{{ $section }}]
{{- range $name, $value := $settings }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{ end }}
{{- range .Values.settings.registries }}
[[registries]]
{{- range $name, $value := . }}
{{ $name }} = {{ toJson $value }}
{{- end }}
{{ end }}
{{- end }}

{{/* Requests and limits; see `resources` in values.yaml. */}}
{{- define "gateway.resources" -}}
{{- $workers := .Values.settings.server.workers | default 1 | int }}
{{- $cache := .Values.settings.cache.megabytes | default 256 | int }}
{{- $requests := dict "cpu" (printf "%dm" (mul 250 $workers)) "memory" (printf "%dMi" (mul $workers (add $cache 128))) }}
{{- $limits := dict "memory" (printf "%dMi" (mul $workers (add $cache 512))) }}
{{- toYaml (mergeOverwrite (dict "requests" $requests "limits" $limits) .Values.resources) }}
{{- end }}

{{/* Seconds in which a pod stops: `server.drain`, `server.grace`, and ten more. */}}
{{- define "gateway.stopSeconds" -}}
{{- $server := .Values.settings.server }}
{{- $grace := ternary $server.grace 10 (hasKey $server "grace") }}
{{- add (ceil (addf $server.drain $grace)) 10 }}
{{- end }}

{{/* A probe of a path. */}}
{{- define "gateway.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
  {{- if .values.settings.server.tls_certificate }}
  scheme: HTTPS
  {{- end }}
{{- end }}

{{/* A rule for connections to a destination: its peers and TCP ports. */}}
{{- define "gateway.egress" -}}
- ports:
    {{- range .ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
