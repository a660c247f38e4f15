// Operators of Aligned, as far as an aggregator sees them: what they send is in a file, a line of JSON each.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/rpc"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"
)

const every = 200 * time.Millisecond

// line is a response of an operator. X and Y are limbs; without them there is no signature.
type line struct {
	Name, Root, Sender, Identifier, Operator string
	X, Y                                     []uint64
}

func (l *line) response() *SignedTaskResponse {
	r := &SignedTaskResponse{}
	fill(r.BatchMerkleRoot[:], l.Root)
	fill(r.SenderAddress[:], l.Sender)
	fill(r.BatchIdentifierHash[:], l.Identifier)
	fill(r.OperatorId[:], l.Operator)
	if len(l.X) == 4 && len(l.Y) == 4 {
		point := &G1Affine{}
		copy(point.X[:], l.X)
		copy(point.Y[:], l.Y)
		r.BlsSignature = Signature{&G1Point{point}}
	}
	return r
}

func fill(to []byte, text string) {
	raw, err := hex.DecodeString(text)
	must(err)
	copy(to, raw)
}

func lines(file string) []*line {
	f, err := os.Open(file)
	must(err)
	defer f.Close()
	var found []*line
	s := bufio.NewScanner(f)
	for s.Scan() {
		l := &line{}
		must(json.Unmarshal(s.Bytes(), l))
		found = append(found, l)
	}
	must(s.Err())
	return found
}

// respond sends one after the other.
func respond(address, file string) {
	c, err := rpc.DialHTTP("tcp", address)
	must(err)
	for _, l := range lines(file) {
		var reply uint8 = 99
		err := c.Call(process, l.response(), &reply)
		say(l.Name, reply, err)
	}
}

// times is how long calls took, and how many of them failed.
type times struct {
	sync.Mutex
	took   []time.Duration
	failed int
}

func (t *times) add(began time.Time, err error) {
	t.Lock()
	defer t.Unlock()
	t.took = append(t.took, time.Since(began))
	if err != nil {
		t.failed++
	}
}

func (t *times) report(name string) {
	sort.Slice(t.took, func(i, j int) bool { return t.took[i] < t.took[j] })
	n := len(t.took)
	fmt.Printf("%s: %d %d %f %f %f\n", name, n, t.failed, t.took[n/2].Seconds(), t.took[n*99/100].Seconds(),
		t.took[n-1].Seconds())
}

// storm sends every response every 0.2 s, each operator by a connection of its own, for so many seconds. Reported are
// calls, failures, the median, 99 % and the most, in seconds; and the same of a call that does nothing, beside them.
func storm(address, file, seconds string) {
	for_s, err := strconv.ParseFloat(seconds, 64)
	must(err)
	end := time.Now().Add(time.Duration(for_s * float64(time.Second)))
	clients := map[string]*rpc.Client{}
	var group sync.WaitGroup
	var calls, idle times
	start := func(call func() error, pause time.Duration, t *times) {
		group.Add(1)
		go func() {
			defer group.Done()
			for next := time.Now(); next.Before(end); next = next.Add(pause) {
				time.Sleep(time.Until(next))
				began := time.Now()
				t.add(began, call())
			}
		}()
	}
	for _, l := range lines(file) {
		c, known := clients[l.Operator]
		if !known {
			c, err = rpc.DialHTTP("tcp", address)
			must(err)
			clients[l.Operator] = c
		}
		r := l.response()
		start(func() error {
			var reply uint8
			return c.Call(process, r, &reply)
		}, every, &calls)
	}
	c, err := rpc.DialHTTP("tcp", address)
	must(err)
	start(func() error {
		var running int64
		return c.Call("Aggregator.ServerRunning", &struct{}{}, &running)
	}, every/10, &idle)
	group.Wait()
	calls.report("calls")
	idle.report("idle")
}
