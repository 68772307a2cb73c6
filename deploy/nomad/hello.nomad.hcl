# Two instances of an application under Nomad's exec driver, without a container image.
#     nomad job run -var application=https://example.com/hello.tar.gz deploy/nomad/hello.nomad.hcl

variable "application" {
  type        = string
  description = "An archive with a spin.toml and its files, or an OCI layout"
}

variable "skiff" {
  type        = string
  description = "The archive of a release of Skiff for the clients' architecture"
  default     = "https://github.com/skiff-dev/skiff/releases/download/v0.1.0/skiff-0.1.0-linux-amd64.tar.gz"
}

job "hello" {
  type = "service"

  # A new one has to be healthy before the next old one ends.
  update {
    max_parallel     = 1
    canary           = 1
    auto_promote     = true
    auto_revert      = true
    health_check     = "checks"
    min_healthy_time = "5s"
  }

  group "hello" {
    count = 2

    network {
      port "http" {}
    }

    service {
      name     = "hello"
      port     = "http"
      provider = "nomad"

      check {
        type     = "http"
        path     = "/.well-known/spin/health"
        interval = "5s"
        timeout  = "2s"
      }
    }

    task "hello" {
      driver = "exec"

      config {
        command = "${NOMAD_TASK_DIR}/bin/skiff"
        args    = ["run", "--listen", "[::]:${NOMAD_PORT_http}", "${NOMAD_TASK_DIR}/app"]
      }

      artifact {
        source      = var.skiff
        destination = "local/bin"
      }

      artifact {
        source      = var.application
        destination = "local/app"
      }

      env {
        SKIFF_CACHE_DIR = "${NOMAD_TASK_DIR}/cache"
      }

      # Clients stop sending requests in this time, in which it still answers.
      shutdown_delay = "5s"
      # Requests that run at SIGTERM may go on for 25 s.
      kill_signal  = "SIGTERM"
      kill_timeout = "30s"

      # Compiling a large component takes more for some seconds.
      resources {
        cpu        = 100
        memory     = 128
        memory_max = 512
      }
    }
  }
}
