package camera

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	lab "github.com/bartizan-vms/bartizan/lab/camera"
	"github.com/bartizan-vms/bartizan/lab/clips"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/vms/stream"
)

// farmVar makes the test binary a farm of cameras: "20" or "20 tls".
const farmVar = "BARTIZAN_TRIAL_FARM"

// farm serves cameras of 4 Mbit/s until standard input ends.
func farm(what string) error {
	var n int
	var secure string
	if _, err := fmt.Sscan(what, &n, &secure); err != nil && n == 0 {
		return err
	}
	var own *tls.Config
	if secure == "tls" {
		var err error
		if own, err = lab.SelfSigned(time.Hour); err != nil {
			return err
		}
	}
	f, err := lab.NewFarm(lab.FarmConfig{Cameras: n, Listen: "127.0.0.1:0",
		Camera: lab.Config{TLS: own, Main: lab.Stream{Quality: clips.Load, Bitrate: 4_000_000, Audio: lab.PCMU}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	for _, u := range f.URLs() {
		fmt.Println(u)
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	cancel()
	<-ended
	return err
}

// BenchmarkIngest measures the CPU time of taking in cameras of 4 Mbit/s over
// loopback, the cameras in a process of their own. Run it with -benchtime 1x.
func BenchmarkIngest(b *testing.B) {
	for _, what := range []string{"20", "20 tls"} {
		b.Run(what, func(b *testing.B) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), farmVar+"="+what)
			cmd.Stderr = os.Stderr
			in, err := cmd.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			hub := stream.New()
			m, err := New(b.Context(), Config{Store: &memory{list: map[vms.CameraID]vms.StoredCamera{}}, Sealer: seal{}, Publisher: hub})
			if err != nil {
				b.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			var ids []vms.CameraID
			for len(ids) < 20 && lines.Scan() {
				c, err := m.Add(b.Context(), vms.NewCamera{Name: strconv.Itoa(len(ids)), MainURL: lines.Text()})
				if err != nil {
					b.Fatal(err)
				}
				ids = append(ids, c.ID)
			}
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			go func() { ended <- m.Run(ctx) }()
			pause(ctx, 5*time.Second) // all have begun
			const span = 20 * time.Second
			for b.Loop() {
				before, samples := cpu(b), count(b, hub, ids)
				pause(ctx, span)
				minutes := span.Minutes() * float64(len(ids))
				b.ReportMetric((cpu(b)-before).Seconds()/minutes, "cpu-s/camera-minute")
				b.ReportMetric(float64(count(b, hub, ids)-samples)/minutes, "samples/camera-minute")
			}
			cancel()
			<-ended
			in.Close()
			if err := cmd.Wait(); err != nil {
				b.Error(err)
			}
		})
	}
}

func count(b *testing.B, hub *stream.Hub, ids []vms.CameraID) (n uint64) {
	for _, id := range ids {
		s, err := hub.Stats(main(id))
		if err != nil {
			b.Fatal(err)
		}
		n += s.Samples
	}
	return n
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
