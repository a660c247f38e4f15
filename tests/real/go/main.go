// A Go RPC peer for the tests: "serve" is a server with real net/rpc, "call" a client, "bytes" what Go's encoder makes; operators.go has "respond" and "storm".
// Both ends report on stdout, a line each; the standard library is all it needs.
package main

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"strings"
	"sync"
	"time"
)

type Element [4]uint64
type G1Affine struct{ X, Y Element }
type G1Point struct{ *G1Affine }
type Signature struct{ *G1Point }
type Bytes32 [32]byte

type SignedTaskResponse struct {
	BatchMerkleRoot     [32]byte
	SenderAddress       [20]byte
	BatchIdentifierHash [32]byte
	BlsSignature        Signature
	OperatorId          Bytes32
}

// sample has bytes of all values, so that many of them take two on the wire.
func sample() *SignedTaskResponse {
	r := &SignedTaskResponse{}
	for i := range r.BatchMerkleRoot {
		r.BatchMerkleRoot[i] = byte(i * 9)
		r.BatchIdentifierHash[i] = byte(255 - i)
		r.OperatorId[i] = byte(i * 31)
	}
	for i := range r.SenderAddress {
		r.SenderAddress[i] = byte(0x70 + i)
	}
	point := &G1Affine{Element{1, 1 << 63, 0, 7}, Element{127, 128, 255, 1<<64 - 1}}
	r.BlsSignature = Signature{&G1Point{point}}
	return r
}

// moreFields has every kind of field that nobody asked for; the new types inside interfaces make it two messages more.
func moreFields() any {
	return &struct {
		Before     map[string][]Bytes32
		Big        string
		Wrapped    any
		Float      float64
		Complex    complex128
		Flag       bool
		When       time.Time
		OperatorId Bytes32
		Later      any
		After      []struct{ A, B *int }
	}{
		Before: map[string][]Bytes32{"a": {{1}, {2}}}, Big: strings.Repeat("x", 300),
		Wrapped: Wrapped{3, "y"}, Float: 1.5, Complex: 1i, Flag: true, When: time.Unix(1, 2).UTC(),
		OperatorId: Bytes32{5}, Later: &Inner{"y"}, After: make([]struct{ A, B *int }, 3),
	}
}

// --- server

type Aggregator struct{}

func (*Aggregator) ProcessOperatorSignedTaskResponseV2(r *SignedTaskResponse, reply *uint8) error {
	fmt.Printf("got %x %x %x %x", r.BatchMerkleRoot, r.SenderAddress, r.BatchIdentifierHash, r.OperatorId)
	if p := r.BlsSignature.G1Point; p != nil && p.G1Affine != nil {
		fmt.Printf(" %v %v\n", p.X, p.Y)
		*reply = 0
		return nil
	}
	fmt.Println(" nil")
	*reply = 1
	return errors.New("invalid response: nil signature")
}

func (*Aggregator) ServerRunning(_ *struct{}, reply *int64) error {
	*reply = 1
	return nil
}

// Slow answers after as many milliseconds as it is given.
func (*Aggregator) Slow(ms *uint64, reply *uint64) error {
	time.Sleep(time.Duration(*ms) * time.Millisecond)
	*reply = *ms
	return nil
}

// Drop ends the process in the middle of the call.
func (*Aggregator) Drop(_ *struct{}, _ *int64) error {
	os.Exit(0)
	return nil
}

func serve() {
	must(rpc.RegisterName("Aggregator", &Aggregator{}))
	rpc.HandleHTTP()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	fmt.Println("listening", listener.Addr())
	must(http.Serve(listener, nil))
}

// --- client

func say(name string, reply any, err error) {
	text := ""
	if err != nil {
		text = " " + err.Error()
	}
	fmt.Printf("%s: %v%s\n", name, reply, text)
}

const process = "Aggregator.ProcessOperatorSignedTaskResponseV2"

func call(address string) {
	c, err := rpc.DialHTTP("tcp", address)
	must(err)
	send := func(name string, arg any) {
		var reply uint8 = 99
		err := c.Call(process, arg, &reply)
		say(name, reply, err)
	}
	send("sample", sample())
	send("nil signature", &SignedTaskResponse{})
	send("nil affine", &SignedTaskResponse{BlsSignature: Signature{&G1Point{}}})
	send("zero point", &SignedTaskResponse{BlsSignature: Signature{&G1Point{&G1Affine{}}}})
	send("31 elements", &struct{ BatchMerkleRoot [31]byte }{})
	send("33 elements", &struct{ BatchMerkleRoot [33]byte }{})
	send("string for array", &struct{ BatchMerkleRoot string }{"x"})
	send("element above 255", &struct{ BatchMerkleRoot [32]uint16 }{[32]uint16{300}})
	send("nothing in common", &struct{ Other int }{1})
	send("no struct", "text")
	send("no struct, a number", 7)
	send("empty struct", &struct{}{})
	send("no operator", &struct {
		BatchMerkleRoot [32]byte
		BlsSignature    Signature
	}{BatchMerkleRoot: [32]byte{1}, BlsSignature: sample().BlsSignature})
	send("more fields", moreFields())
	send("fields in another order", &struct {
		OperatorId      Bytes32
		BatchMerkleRoot [32]byte
	}{Bytes32{5}, [32]byte{6}})
	send("sample again", sample())

	var running int64
	err = c.Call("Aggregator.ServerRunning", &struct{}{}, &running)
	say("running", running, err)
	err = c.Call("Aggregator.Missing", sample(), &running)
	say("missing", running, err)
	concurrent(c)
	err = c.Call("Aggregator.Drop", &struct{}{}, &running)
	say("drop", running, err)
	err = c.Call("Aggregator.ServerRunning", &struct{}{}, &running)
	say("after drop", running, err)
}

// tooLarge: a call above the cap; the connection ends.
func tooLarge(address string) {
	c, err := rpc.DialHTTP("tcp", address)
	must(err)
	var reply uint8
	err = c.Call(process, &struct{ Big string }{strings.Repeat("x", 1<<20)}, &reply)
	say("1 MiB", reply, err)
}

type Inner struct{ Text string }
type Wrapped struct {
	Number int
	Inner  any
}

// concurrent: the first call is the slowest; all are under way together and answered in the other order.
func concurrent(c *rpc.Client) {
	var group sync.WaitGroup
	var mutex sync.Mutex
	var order []uint64
	for _, ms := range []uint64{300, 200, 100, 0} {
		group.Add(1)
		var reply uint64
		done := c.Go("Aggregator.Slow", ms, &reply, nil)
		go func() {
			defer group.Done()
			<-done.Done
			mutex.Lock()
			order = append(order, reply)
			mutex.Unlock()
		}()
	}
	group.Wait()
	say("concurrent", order, nil)
}

// flood: as many calls as asked for, 32 at a time.
func flood(address string, calls int) {
	c, err := rpc.DialHTTP("tcp", address)
	must(err)
	started := time.Now()
	var group sync.WaitGroup
	places := make(chan struct{}, 32)
	bad := make(chan error, calls)
	for i := 0; i < calls; i++ {
		group.Add(1)
		places <- struct{}{}
		go func() {
			defer group.Done()
			var reply uint8
			if err := c.Call(process, sample(), &reply); err != nil {
				bad <- err
			}
			<-places
		}()
	}
	group.Wait()
	fmt.Printf("flood: %d %d %.0f\n", calls, len(bad), float64(calls)/time.Since(started).Seconds())
}

// --- bytes

func encoded() {
	var b bytes.Buffer
	e := gob.NewEncoder(&b)
	put := func(name string, v any) {
		b.Reset()
		must(e.Encode(v))
		fmt.Println(name, hex.EncodeToString(b.Bytes()))
	}
	put("request", &rpc.Request{ServiceMethod: process})
	put("sample", sample())
	put("sample again", sample())
	put("more fields", moreFields())
	put("nil signature", &SignedTaskResponse{})
	put("response", &rpc.Response{ServiceMethod: process, Seq: 7, Error: "no"})
	put("empty", struct{}{})
	put("uint8", uint8(255))
	put("int64", int64(-300))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	gob.Register(Wrapped{})
	gob.Register(&Inner{})
	switch os.Args[1] {
	case "serve":
		serve()
	case "call":
		call(os.Args[2])
	case "too-large":
		tooLarge(os.Args[2])
	case "flood":
		flood(os.Args[2], 2000)
	case "respond":
		respond(os.Args[2], os.Args[3])
	case "storm":
		storm(os.Args[2], os.Args[3], os.Args[4])
	case "bytes":
		encoded()
	}
}
