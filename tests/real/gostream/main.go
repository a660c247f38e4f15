// A data stream peer for the tests, made of the published module: "serve" is its server, "follow" and "ask" its client.
// A server does what it reads on stdin, a line each; everything it and a client have to say is a line on stdout.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/0xPolygonHermez/zkevm-data-streamer/datastreamer"
	"github.com/0xPolygonHermez/zkevm-data-streamer/log"
)

var quiet = log.Config{Environment: "production", Level: "fatal", Outputs: []string{"stderr"}}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	must(err)
	return n
}

func raw(text string) []byte {
	data, err := hex.DecodeString(text)
	must(err)
	return data
}

// serve PORT FILE: then on stdin "commit TYPE:HEX ...", "rollback TYPE:HEX ..." or "truncate NUMBER".
func serve(port, file string) {
	s, err := datastreamer.NewServer(uint16(number(port)), 2, 1, 1, file,
		20*time.Second, 10*time.Minute, 5*time.Minute, &quiet)
	must(err)
	must(s.Start())
	fmt.Println("ready", s.GetHeader().TotalEntries)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "truncate":
			must(s.TruncateFile(number(words[1])))
		case "commit", "rollback":
			must(s.StartAtomicOp())
			for _, word := range words[1:] {
				kind, data, _ := strings.Cut(word, ":")
				if number(kind) == uint64(datastreamer.EtBookmark) {
					_, err = s.AddStreamBookmark(raw(data))
				} else {
					_, err = s.AddStreamEntry(datastreamer.EntryType(number(kind)), raw(data))
				}
				must(err)
			}
			if words[0] == "commit" {
				must(s.CommitAtomicOp())
			} else {
				must(s.RollbackAtomicOp())
			}
		}
		h := s.GetHeader()
		fmt.Println("done", h.TotalEntries, h.TotalLength)
	}
}

func dial(address string) *datastreamer.StreamClient {
	c, err := datastreamer.NewClientWithLogsConfig(address, 1, quiet)
	must(err)
	c.SetProcessEntryFunc(func(e *datastreamer.FileEntry, _ *datastreamer.StreamClient, _ *datastreamer.StreamServer) error {
		fmt.Println("entry", hex.EncodeToString(e.Encode()))
		return nil
	})
	must(c.Start())
	return c
}

func told(what string, e datastreamer.FileEntry, err error) {
	if err != nil {
		fmt.Println(what, err)
		return
	}
	fmt.Println(what, e.Number, e.Type, hex.EncodeToString(e.Data))
}

// ask ADDRESS WORD ...: "header", "entry=N", "bookmark=HEX", "start=N", "from=HEX", "stop", and "until=N" milliseconds.
func ask(address string, words []string) {
	c := dial(address)
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "header":
			h, err := c.ExecCommandGetHeader()
			fmt.Println("header", h.Version, h.SystemID, h.TotalLength, h.TotalEntries, err)
		case "entry":
			e, err := c.ExecCommandGetEntry(number(value))
			told(word, e, err)
		case "bookmark":
			e, err := c.ExecCommandGetBookmark(raw(value))
			told(word, e, err)
		case "start":
			fmt.Println(word, c.ExecCommandStart(number(value)))
		case "from":
			fmt.Println(word, c.ExecCommandStartBookmark(raw(value)))
		case "stop":
			fmt.Println(word, c.ExecCommandStop())
		case "until":
			time.Sleep(time.Duration(number(value)) * time.Millisecond)
		}
	}
}

func main() {
	switch os.Args[1] {
	case "serve":
		serve(os.Args[2], os.Args[3])
	case "ask":
		ask(os.Args[2], os.Args[3:])
	}
}
