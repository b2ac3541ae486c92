{{- define "kerasjob.name" -}}
{{- .Values.serviceAccount.name | default "kerasjob-operator" -}}
{{- end }}

{{/* A list of maps as one: where they share a key, the last of them says its value. `merge` would take "" for no value at all. */}}
{{- define "kerasjob.merged" -}}
{{- $merged := dict }}
{{- range . }}
{{- range $key, $value := . }}
{{- $_ := set $merged $key $value }}
{{- end }}
{{- end }}
{{- toYaml $merged }}
{{- end }}

{{- define "kerasjob.selector" -}}
app.kubernetes.io/name: kerasjob-operator
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* The pod of `helm test`. */}}
{{- define "kerasjob.testSelector" -}}
app.kubernetes.io/name: kerasjob-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/* The selector's come last: what has others would not be found by the Deployment, the Service, the ServiceMonitor or the budget. */}}
{{- define "kerasjob.labels" -}}
{{- $own := dict "app.kubernetes.io/version" .Chart.AppVersion "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version) }}
{{- include "kerasjob.merged" (list $own .Values.commonLabels (include "kerasjob.selector" . | fromYaml)) }}
{{- end }}

{{/* The labels of an object that has labels of its own among the values: (list $ THESE). */}}
{{- define "kerasjob.labelsAnd" -}}
{{- include "kerasjob.merged" (list (include "kerasjob.labels" (index . 0) | fromYaml) (index . 1)) }}
{{- end }}

{{/* The label by which Prometheus tells this release's operators from all others. */}}
{{- define "kerasjob.jobLabel" -}}
{{- .Values.monitoring.jobLabel | default (printf "%s/kerasjob-operator" .Release.Namespace) -}}
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
  verbs: [get, list, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, create]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, create]
- apiGroups: [scheduling.k8s.io]
  resources: [podgroups]
  verbs: [get, create]
{{- end }}

{{/* What users may do with jobs. */}}
{{- define "kerasjob.editRules" -}}
- apiGroups: [kerasjob.dev]
  resources: [kerasjobs]
  verbs: [get, list, watch, create, update, patch, delete, deletecollection]
- apiGroups: [kerasjob.dev]
  resources: [kerasjobs/scale]
  verbs: [get, update, patch]
{{- end }}

{{- define "kerasjob.viewRules" -}}
- apiGroups: [kerasjob.dev]
  resources: [kerasjobs]
  verbs: [get, list, watch]
{{- end }}
