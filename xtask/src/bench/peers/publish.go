// What a fleet is compared with: the same bytes published by NATS' own library for Go, on which
// `nats pub` and `nats bench` stand. Prints how many nanoseconds of CPU, of all its threads, and of
// time that took.
//
// `publish SERVER STREAM SUBJECTS SIZE COUNT SPEED HOW` makes the stream and sends COUNT messages of
// SIZE bytes to its subjects `STREAM.0`, `STREAM.1` … in turn, SPEED bytes a second. HOW is
//   - `bare`: without answers, as `nats pub` does;
//   - `answered`: the stream answers each message, while others are on their way, as with
//     `nats bench --js`;
//   - `one`: each message waits for the answer to the one before, as with `nats pub --jetstream`.
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// So many messages may wait for an answer, as many as of eight consoles.
	window = 128
	// Without answers, so many bytes are sent before one waits for the server.
	ahead = 8 << 20
	// How often one looks whether it is time, and how long anything may take.
	tick  = time.Millisecond
	limit = 60 * time.Second
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 8 {
		log.Fatal("usage: publish SERVER STREAM SUBJECTS SIZE COUNT SPEED HOW")
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3:7], os.Args[7]); err != nil {
		log.Fatal(err)
	}
}

func run(server, stream string, words []string, how string) error {
	var numbers [4]int
	for at, word := range words {
		number, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		numbers[at] = number
	}
	subjects, size, count, speed := numbers[0], numbers[1], numbers[2], numbers[3]
	client, err := nats.Connect(server)
	if err != nil {
		return err
	}
	defer client.Close()
	// The library may be older than compression.
	config := fmt.Sprintf(`{"name":"%s","subjects":["%s.*"],"retention":"limits","storage":"file",`+
		`"num_replicas":1,"max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"compression":"s2"}`, stream, stream)
	if _, err := client.Request("$JS.API.STREAM.CREATE."+stream, []byte(config), limit); err != nil {
		return err
	}
	publish, end, err := way(client, how)
	if err != nil {
		return err
	}
	line := "0123456789 what a console prints, more or less\n"
	text := []byte(strings.Repeat(line, size/len(line)+1)[:size])

	before, start := spent(), time.Now()
	for number := 0; number < count; number++ {
		for float64(number*size) > float64(speed)*time.Since(start).Seconds() {
			time.Sleep(tick)
		}
		if err := publish(stream+"."+strconv.Itoa(number%subjects), text); err != nil {
			return err
		}
	}
	if err := end(); err != nil {
		return err
	}
	fmt.Println((spent() - before).Nanoseconds(), time.Since(start).Nanoseconds())
	return nil
}

// How a message is published, and what is waited for after the last one.
func way(client *nats.Conn, how string) (func(string, []byte) error, func() error, error) {
	stream, err := client.JetStream(nats.PublishAsyncMaxPending(window), nats.MaxWait(limit))
	if err != nil {
		return nil, nil, err
	}
	sent := 0
	switch how {
	case "bare":
		publish := func(subject string, text []byte) error {
			if sent += len(text); sent >= ahead {
				sent = 0
				if err := client.Flush(); err != nil {
					return err
				}
			}
			return client.Publish(subject, text)
		}
		return publish, client.Flush, nil
	case "answered":
		publish := func(subject string, text []byte) error {
			_, err := stream.PublishAsync(subject, text, nats.StallWait(limit))
			return err
		}
		end := func() error {
			select {
			case <-stream.PublishAsyncComplete():
				return nil
			case <-time.After(limit):
				return errors.New("answers are missing")
			}
		}
		return publish, end, nil
	case "one":
		publish := func(subject string, text []byte) error {
			_, err := stream.Publish(subject, text)
			return err
		}
		return publish, func() error { return nil }, nil
	}
	return nil, nil, errors.New("how? bare, answered or one")
}

// CPU time of this process, all of its threads together.
func spent() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
