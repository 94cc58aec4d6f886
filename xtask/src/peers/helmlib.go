// Times helm's library: DIRECTORY TIMES [different]. Prints JSON: runs with reading the chart, and renders of what was read.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
)

func main() {
	log.SetOutput(io.Discard)
	times, err := strconv.Atoi(os.Args[2])
	check(err)
	different := len(os.Args) > 3
	var runs, renders []float64
	size := 0
	var read *chart.Chart
	for i := 0; i < times; i++ {
		start := time.Now()
		if read == nil || !different {
			read, err = loader.LoadDir(os.Args[1])
			check(err)
		}
		loaded := time.Now()
		values := map[string]interface{}{}
		if different {
			values["nameOverride"] = fmt.Sprintf("name-%d", i)
		}
		check(chartutil.ProcessDependenciesWithMerge(read, values))
		release := chartutil.ReleaseOptions{Name: "release-name", Namespace: "default", Revision: 1, IsInstall: true}
		all, err := chartutil.ToRenderValues(read, values, release, chartutil.DefaultCapabilities)
		check(err)
		made, err := engine.Render(read, all)
		check(err)
		for name := range made {
			if strings.HasSuffix(name, "NOTES.txt") {
				delete(made, name)
			}
		}
		_, manifests, err := releaseutil.SortManifests(made, nil, releaseutil.InstallOrder)
		check(err)
		runs = append(runs, float64(time.Since(start).Nanoseconds())/1e6)
		renders = append(renders, float64(time.Since(loaded).Nanoseconds())/1e6)
		size = 0
		for _, manifest := range manifests {
			size += len(manifest.Content)
		}
	}
	status, _ := os.ReadFile("/proc/self/status")
	peak := 0
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Sscanf(strings.TrimPrefix(line, "VmHWM:"), "%d", &peak)
		}
	}
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{"runs": runs, "renders": renders, "bytes": size, "peak_kib": peak}))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
