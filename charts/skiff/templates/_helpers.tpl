{{/* Names that the installer, the shim and the documentation also use. They are only here;
     tests/charts compares them with the installer's. */}}

{{- define "skiff.handler" -}}skiff{{- end }}
{{- define "skiff.runtimeClass" -}}skiff{{- end }}
{{- define "skiff.readyLabel" -}}skiff.dev/ready{{- end }}
{{- define "skiff.versionLabel" -}}skiff.dev/version{{- end }}
{{- define "skiff.poolLabel" -}}skiff.dev/pool{{- end }}
{{- define "skiff.hostRoot" -}}/host{{- end }}
{{- define "skiff.port" -}}8089{{- end }}
{{- define "skiff.defaultsFolder" -}}/defaults{{- end }}
{{- define "skiff.defaultsAnnotation" -}}skiff.dev/defaults{{- end }}

{{/* The release's name, followed by the chart's unless it contains that. */}}
{{- define "skiff.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "skiff.retireName" -}}{{ include "skiff.fullname" . }}-retire{{- end }}

{{/* The selector labels of this release; those of a DaemonSet cannot be changed. */}}
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

{{/* An image by digest, else by tag. Takes repository, tag, digest, and the default tag. */}}
{{- define "skiff.image" -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default .release }}
{{- end -}}
{{- end }}

{{/* The installer's image from the values. */}}
{{- define "skiff.installer" -}}
{{- include "skiff.image" (merge (dict "release" .Chart.AppVersion) .Values.image) -}}
{{- end }}

{{/* The tolerations for a list of taints, as a JSON object. */}}
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

{{/* The pools as a JSON object, each with its values and the defaults.
     Without pools there is one without a name. */}}
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
{{- /* A pool's own tag wins over the digest in the values. */ -}}
{{- $image := $own.image | default (pick $.Values.image "tag" "digest") -}}
{{- $image = merge (dict "repository" $.Values.image.repository "release" $.Chart.AppVersion) $image -}}
{{- $pool = set $pool "image" (include "skiff.image" $image) -}}
{{- $pools = append $pools $pool -}}
{{- end -}}
{{- toJson (dict "pools" $pools) -}}
{{- end }}

{{/* One level of the defaults for applications, in the terms of the installer's file. Values
     from Secrets become the paths at which those are mounted. */}}
{{- define "skiff.defaultsLevel" -}}
{{- $level := dict -}}
{{- range $key, $table := dict "keyValue" "key_value_store" "sqlite" "sqlite_database" -}}
{{- with index $ $key -}}
{{- $store := dict -}}
{{- range $name, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $value = dict "file" (printf "secrets/%s/%s" $value.secret $value.key) -}}
{{- end -}}
{{- $store = set $store $name $value -}}
{{- end -}}
{{- $level = set $level $table (dict "default" $store) -}}
{{- end -}}
{{- end -}}
{{- with .outbound -}}
{{- $networking := dict -}}
{{- with .blockNetworks -}}{{- $networking = set $networking "block_networks" . -}}{{- end -}}
{{- with .maxConnections -}}{{- $networking = set $networking "max_total_connections" (int .) -}}{{- end -}}
{{- with $networking -}}{{- $level = set $level "outbound_networking" . -}}{{- end -}}
{{- with .maxHttpConnections -}}
{{- $level = set $level "outbound_http" (dict "max_connections" (int .)) -}}
{{- end -}}
{{- end -}}
{{- with .mayReplace -}}
{{- $parts := list -}}
{{- range . -}}
{{- $parts = append $parts (get (dict "keyValue" "key_value_store" "sqlite" "sqlite_database") .) -}}
{{- end -}}
{{- $level = set $level "may_replace" $parts -}}
{{- end -}}
{{- toJson $level -}}
{{- end }}

{{/* The defaults for applications as TOML; empty without any. */}}
{{- define "skiff.defaults" -}}
{{- $all := include "skiff.defaultsLevel" .Values.defaults | fromJson -}}
{{- $namespaces := dict -}}
{{- range $name, $own := .Values.defaults.namespaces -}}
{{- $namespaces = set $namespaces $name (include "skiff.defaultsLevel" $own | fromJson) -}}
{{- end -}}
{{- with $namespaces -}}{{- $all = set $all "namespace" . -}}{{- end -}}
{{- /* Numbers that have been JSON are fractions. */ -}}
{{- with $all -}}{{- regexReplaceAll "(?m)^(\\s*max_[a-z_]+ = [0-9]+)\\.0$" (toToml .) "${1}" -}}{{- end -}}
{{- end }}

{{/* The Secrets that the defaults name, as a JSON object of lists of keys. */}}
{{- define "skiff.defaultsSecrets" -}}
{{- $secrets := dict -}}
{{- range prepend (values .Values.defaults.namespaces) .Values.defaults -}}
{{- range list .keyValue .sqlite -}}
{{- range $value := . -}}
{{- if kindIs "map" $value -}}
{{- $keys := append (get $secrets $value.secret | default list) $value.key | uniq | sortAlpha -}}
{{- $secrets = set $secrets $value.secret $keys -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $secrets -}}
{{- end }}

{{/* The security context of a container that does not touch the node. */}}
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
