# A node pool for Wasm in an existing AKS cluster, with Skiff on it.
#     terraform apply -var resource_group_name=GROUP -var cluster_name=CLUSTER

terraform {
  required_version = ">= 1.5"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.0"
    }
    helm = {
      source  = "hashicorp/helm"
      version = "~> 3.0"
    }
  }
}

variable "resource_group_name" {
  type        = string
  description = "The cluster's resource group"
}

variable "cluster_name" {
  type        = string
  description = "The cluster's name"
}

variable "skiff_version" {
  type        = string
  description = "The chart's version, which is Skiff's"
  default     = "0.1.0"
}

# The subscription comes from ARM_SUBSCRIPTION_ID.
provider "azurerm" {
  features {}
}

provider "helm" {
  kubernetes = {
    host                   = data.azurerm_kubernetes_cluster.this.kube_config[0].host
    client_certificate     = base64decode(data.azurerm_kubernetes_cluster.this.kube_config[0].client_certificate)
    client_key             = base64decode(data.azurerm_kubernetes_cluster.this.kube_config[0].client_key)
    cluster_ca_certificate = base64decode(data.azurerm_kubernetes_cluster.this.kube_config[0].cluster_ca_certificate)
  }
}

data "azurerm_kubernetes_cluster" "this" {
  name                = var.cluster_name
  resource_group_name = var.resource_group_name
}

resource "azurerm_kubernetes_cluster_node_pool" "wasm" {
  name                  = "wasm"
  kubernetes_cluster_id = data.azurerm_kubernetes_cluster.this.id
  vm_size               = "Standard_D2s_v5"
  auto_scaling_enabled  = true
  min_count             = 1
  max_count             = 5
  node_labels           = { "skiff.dev/wasm" = "true" }
  # Only pods with `runtimeClassName: skiff` come here; the chart gives them the toleration.
  node_taints = ["skiff.dev/wasm=true:NoSchedule"]

  upgrade_settings {
    max_surge = "33%"
  }
}

resource "helm_release" "skiff" {
  name             = "skiff"
  repository       = "oci://ghcr.io/skiff-dev/charts"
  chart            = "skiff"
  version          = var.skiff_version
  namespace        = "skiff-system"
  create_namespace = true

  values = [yamlencode({
    nodeSelector = { "skiff.dev/wasm" = "true" }
    taints       = [{ key = "skiff.dev/wasm", value = "true", effect = "NoSchedule" }]
  })]

  depends_on = [azurerm_kubernetes_cluster_node_pool.wasm]
}
