// Google's own in-memory Pub/Sub, on the port of the loopback interface that is its argument.
package main

import (
	"os"
	"strconv"

	"cloud.google.com/go/pubsub/v2/pstest"
)

func main() {
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	defer pstest.NewServerWithPort(port).Close()
	select {}
}
