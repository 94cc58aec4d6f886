// Times kustomize's library: DIRECTORY TIMES [reset]. Prints JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

func main() {
	times, err := strconv.Atoi(os.Args[2])
	check(err)
	reset := len(os.Args) > 3
	var runs []float64
	size := 0
	for i := 0; i < times; i++ {
		start := time.Now()
		if reset {
			openapi.ResetOpenAPI()
		}
		made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), os.Args[1])
		check(err)
		text, err := made.AsYaml()
		check(err)
		runs = append(runs, float64(time.Since(start).Nanoseconds())/1e6)
		size = len(text)
	}
	status, _ := os.ReadFile("/proc/self/status")
	peak := 0
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Sscanf(strings.TrimPrefix(line, "VmHWM:"), "%d", &peak)
		}
	}
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{"runs": runs, "bytes": size, "peak_kib": peak}))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
