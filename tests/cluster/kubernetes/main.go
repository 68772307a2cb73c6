// All of Kubernetes in one program: each part is a subcommand with its upstream options.
// Size and build time are a quarter of those of separate programs.
package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	// The programs upstream register these by importing them.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

var parts = map[string]func() int{
	"etcd":                    etcd,
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kube-proxy":              func() int { return cli.Run(proxy.NewProxyCommand()) },
	"kubelet":                 func() int { return cli.Run(kubelet.NewKubeletCommand(context.Background())) },
	"kubectl":                 kubectl,
}

func main() {
	if len(os.Args) > 1 {
		if part, known := parts[os.Args[1]]; known {
			// Each part reads its options as if it were a separate program.
			os.Args = os.Args[1:]
			os.Exit(part())
		}
	}
	names := make([]string, 0, len(parts))
	for name := range parts {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintln(os.Stderr, "usage: kubernetes", strings.Join(names, "|"), "[OPTION...]")
	os.Exit(2)
}

func kubectl() int {
	logs.GlogSetter(cmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		// Prints the error as kubectl does and ends the process.
		util.CheckErr(err)
	}
	return 0
}

// etcd serves one member without TLS at a given address. Its data is not needed after the
// cluster, so it never waits for the disk.
func etcd() int {
	config := embed.NewConfig()
	config.UnsafeNoFsync = true
	config.LogLevel = "warn"
	var clients, peers string
	command := &cobra.Command{
		Use:          "etcd",
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			return serveEtcd(config, clients, peers)
		},
	}
	flags := command.Flags()
	flags.StringVar(&config.Dir, "data-dir", "", "folder of the data")
	flags.StringVar(&clients, "listen-client-url", "http://127.0.0.1:2379", "where clients are served")
	flags.StringVar(&peers, "listen-peer-url", "http://127.0.0.1:2380", "where other members would be served")
	return cli.Run(command)
}

func serveEtcd(config *embed.Config, clients, peers string) error {
	clientURL, err := url.Parse(clients)
	if err != nil {
		return err
	}
	peerURL, err := url.Parse(peers)
	if err != nil {
		return err
	}
	clientURLs, peerURLs := []url.URL{*clientURL}, []url.URL{*peerURL}
	config.ListenClientUrls, config.AdvertiseClientUrls = clientURLs, clientURLs
	config.ListenPeerUrls, config.AdvertisePeerUrls = peerURLs, peerURLs
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-told:
		return nil
	case err := <-server.Err():
		return err
	}
}
