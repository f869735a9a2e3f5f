// Renders templates with External Secrets Operator's own code.
//
// It reads a JSON list of cases on its standard input and writes a JSON list of answers, in the same order, to its
// standard output. With the argument "functions" it writes the names of all functions instead.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	template "github.com/external-secrets/external-secrets/pkg/template/v2"
	corev1 "k8s.io/api/core/v1"
)

type question struct {
	Template string            `json:"template"`
	Values   map[string]string `json:"values"`
	// Map says that the result is read as a map of keys and values.
	Map bool `json:"map"`
}

type answer struct {
	Text  *string           `json:"text,omitempty"`
	Map   map[string]string `json:"map,omitempty"`
	Error string            `json:"error,omitempty"`
}

const key = "text"

func ask(q question) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			a = answer{Error: fmt.Sprint("panic: ", r)}
		}
	}()
	data := map[string][]byte{}
	for name, value := range q.Values {
		data[name] = []byte(value)
	}
	scope := esv1.TemplateScopeValues
	if q.Map {
		scope = esv1.TemplateScopeKeysAndValues
	}
	secret := &corev1.Secret{}
	templates := map[string][]byte{key: []byte(q.Template)}
	if err := template.Execute(templates, data, scope, esv1.TemplateTargetData, secret); err != nil {
		return answer{Error: err.Error()}
	}
	texts := map[string]string{}
	for name, value := range secret.Data {
		texts[name] = string(value)
	}
	if q.Map {
		return answer{Map: texts}
	}
	text := texts[key]
	return answer{Text: &text}
}

func write(value any) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "functions" {
		write(slices.Sorted(maps.Keys(template.FuncMap())))
		return
	}
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answers := make([]answer, 0, len(questions))
	for _, q := range questions {
		answers = append(answers, ask(q))
	}
	write(answers)
}
