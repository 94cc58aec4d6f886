// Prints what kustomize knows of Kubernetes: its OpenAPI document.
package main

import (
	"encoding/json"
	"os"

	"sigs.k8s.io/kustomize/kyaml/openapi"
)

func main() {
	if err := json.NewEncoder(os.Stdout).Encode(openapi.Schema()); err != nil {
		panic(err)
	}
}
