# A node group for Wasm in an existing EKS cluster, with Skiff on it.
#     terraform apply -var cluster_name=CLUSTER -var node_role_arn=ARN

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.30"
    }
    helm = {
      source  = "hashicorp/helm"
      version = "~> 3.0"
    }
  }
}

variable "cluster_name" {
  type        = string
  description = "The cluster's name"
}

variable "node_role_arn" {
  type        = string
  description = "The IAM role of the cluster's nodes"
}

variable "skiff_version" {
  type        = string
  description = "The chart's version, which is Skiff's"
  default     = "0.1.0"
}

# The region comes from AWS_REGION or the profile.
provider "aws" {}

provider "helm" {
  kubernetes = {
    host                   = data.aws_eks_cluster.this.endpoint
    cluster_ca_certificate = base64decode(data.aws_eks_cluster.this.certificate_authority[0].data)
    token                  = data.aws_eks_cluster_auth.this.token
  }
}

data "aws_eks_cluster" "this" {
  name = var.cluster_name
}

data "aws_eks_cluster_auth" "this" {
  name = var.cluster_name
}

resource "aws_eks_node_group" "wasm" {
  cluster_name    = var.cluster_name
  node_group_name = "wasm"
  node_role_arn   = var.node_role_arn
  subnet_ids      = data.aws_eks_cluster.this.vpc_config[0].subnet_ids
  ami_type        = "AL2023_x86_64_STANDARD"
  instance_types  = ["m6i.large"]
  labels          = { "skiff.dev/wasm" = "true" }

  # Only pods with `runtimeClassName: skiff` come here; the chart gives them the toleration.
  taint {
    key    = "skiff.dev/wasm"
    value  = "true"
    effect = "NO_SCHEDULE"
  }

  scaling_config {
    min_size     = 1
    desired_size = 2
    max_size     = 5
  }

  update_config {
    max_unavailable = 1
  }

  # Later on an autoscaler decides.
  lifecycle {
    ignore_changes = [scaling_config[0].desired_size]
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

  depends_on = [aws_eks_node_group.wasm]
}
