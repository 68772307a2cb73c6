{{/* Names that the installer, the shim and the documentation use too. They live here only;
     tests/charts compares them with the installer's. */}}

{{- define "skiff.handler" -}}skiff{{- end }}
{{- define "skiff.runtimeClass" -}}skiff{{- end }}
{{- define "skiff.readyLabel" -}}skiff.dev/ready{{- end }}
{{- define "skiff.versionLabel" -}}skiff.dev/version{{- end }}
{{- define "skiff.poolLabel" -}}skiff.dev/pool{{- end }}
{{- define "skiff.hostRoot" -}}/host{{- end }}
{{- define "skiff.port" -}}8089{{- end }}

{{/* The release's name, with the chart's where the release's does not say it. */}}
{{- define "skiff.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "skiff.retireName" -}}{{ include "skiff.fullname" . }}-retire{{- end }}

{{/* What finds the objects of this release; DaemonSets may never change theirs. */}}
{{- define "skiff.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "skiff.labels" -}}
{{ include "skiff.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (replace "+" "_" .Chart.Version) }}
{{- end }}

{{/* An image by digest, else by tag. Takes repository, tag, digest, and the tag to fall back on. */}}
{{- define "skiff.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default .release }}
{{- end -}}
{{- end }}

{{/* The installer's image as the values name it. */}}
{{- define "skiff.installer" -}}
{{- include "skiff.image" (merge (dict "release" .Chart.AppVersion) .Values.image) -}}
{{- end }}

{{/* Tolerations, as a JSON object, of a list of taints. */}}
{{- define "skiff.tolerating" -}}
{{- $tolerations := list -}}
{{- range . -}}
{{- $toleration := dict "key" .key "effect" .effect -}}
{{- if .value -}}
{{- $toleration = merge $toleration (dict "operator" "Equal" "value" .value) -}}
{{- else -}}
{{- $toleration = set $toleration "operator" "Exists" -}}
{{- end -}}
{{- $tolerations = append $tolerations $toleration -}}
{{- end -}}
{{- toJson (dict "tolerations" $tolerations) -}}
{{- end }}

{{/* The pools as a JSON object, each with all that it takes from the values beside it.
     Without pools there is one, without a name. */}}
{{- define "skiff.pools" -}}
{{- $names := list -}}
{{- $pools := list -}}
{{- range $own := .Values.pools | default (list dict) -}}
{{- if and .name (has .name $names) -}}
{{- fail (printf "pools: the name `%s` is given twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $nodeSelector := dict -}}
{{- range $selector := list $.Values.nodeSelector (.nodeSelector | default dict) -}}
{{- range $key, $value := $selector -}}
{{- $nodeSelector = set $nodeSelector $key $value -}}
{{- end -}}
{{- end -}}
{{- $pool := dict "name" (.name | default "") "nodeSelector" $nodeSelector -}}
{{- range $key := list "affinity" "tolerations" "taints" "hostPID" -}}
{{- $pool = set $pool $key (index (ternary $own $.Values (hasKey $own $key)) $key) -}}
{{- end -}}
{{- $rollout := $own.rollout | default dict -}}
{{- range $key := list "maxUnavailable" "minReadySeconds" -}}
{{- $pool = set $pool $key (index (ternary $rollout $.Values.rollout (hasKey $rollout $key)) $key) -}}
{{- end -}}
{{- /* Another tag is another image, whatever digest the others have. */ -}}
{{- $image := $own.image | default (pick $.Values.image "tag" "digest") -}}
{{- $image = merge (dict "repository" $.Values.image.repository "release" $.Chart.AppVersion) $image -}}
{{- $pool = set $pool "image" (include "skiff.image" $image) -}}
{{- $pools = append $pools $pool -}}
{{- end -}}
{{- toJson (dict "pools" $pools) -}}
{{- end }}

{{/* What a container may do that touches nothing of the node: nothing. */}}
{{- define "skiff.restricted" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end }}
