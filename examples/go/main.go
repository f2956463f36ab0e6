// Ask with net/http: go run examples/go/main.go "question"
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func main() {
	base := os.Getenv("SLUICE_URL")
	if base == "" {
		base = "http://127.0.0.1:9001"
	}
	query := url.Values{"question": {"沈塘桥地铁站的信息"}}
	if len(os.Args) > 1 {
		query.Set("question", os.Args[1])
	}
	if database := os.Getenv("DATABASE"); database != "" {
		query.Set("database", database)
	}
	request, _ := http.NewRequest("GET", base+"/getAnwser?"+query.Encode(), nil)
	if key := os.Getenv("KEY"); key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil || reply.StatusCode != 200 {
		fmt.Fprintln(os.Stderr, "the question was not answered:", err)
		os.Exit(1)
	}
	defer reply.Body.Close()
	event := ""
	lines := bufio.NewScanner(reply.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "event: ") {
			event = line[7:]
		} else if data, found := strings.CutPrefix(line, "data: "); found && event == "" {
			var text struct{ Text string }
			json.Unmarshal([]byte(data), &text)
			fmt.Print(text.Text)
		} else if line == "" {
			event = ""
		}
	}
	fmt.Println()
}
