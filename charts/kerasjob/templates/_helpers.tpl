{{- define "kerasjob.name" -}}
{{- .Values.serviceAccount.name | default "kerasjob-operator" -}}
{{- end }}

{{- define "kerasjob.labels" -}}
app.kubernetes.io/name: kerasjob-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "kerasjob.selector" -}}
app.kubernetes.io/name: kerasjob-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Names of objects that are not in a namespace: two releases beside each other must not share them. */}}
{{- define "kerasjob.clusterName" -}}
{{- if eq .Release.Namespace "kerasjob-system" -}}kerasjob-operator{{- else -}}kerasjob-operator-{{ .Release.Namespace }}{{- end -}}
{{- end }}

{{/* What the operator may do with jobs and what belongs to them; the same in a Role and in a ClusterRole. */}}
{{- define "kerasjob.rules" -}}
- apiGroups: [kerasjob.dev]
  resources: [kerasjobs]
  verbs: [list, watch, delete]
- apiGroups: [kerasjob.dev]
  resources: [kerasjobs/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, create]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [events]
  verbs: [get, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, create]
{{- end }}
