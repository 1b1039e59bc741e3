// The track from above, the way driven, and the car.

class TrackView {
  constructor(figure, episode, peer) {
    Object.assign(this, { episode, peer });
    this.surface = new Surface(figure.querySelector("canvas"), (...args) => this.paint(...args));
    this.surface.onResize = () => this.fit();
    this.frame = 0;
  }

  // North up, all of the track, equal scales.
  fit() {
    const { left_edge_m, right_edge_m, driven_m } = this.episode.track;
    const points = [...left_edge_m, ...right_edge_m, ...driven_m];
    const [low, high] = [Math.min, Math.max].map((pick) => [0, 1].map(
      (axis) => points.reduce((best, point) => pick(best, point[axis]), points[0][axis])));
    const width = this.surface.width;
    const height = this.surface.height - 14;  // below it the scale
    const margin = 10;
    const scale = Math.min((width - 2 * margin) / (high[0] - low[0] || 1),
      (height - 2 * margin) / (high[1] - low[1] || 1));
    const x0 = (width - scale * (high[0] + low[0])) / 2;
    const y0 = (height + scale * (high[1] + low[1])) / 2;
    this.scale = scale;
    this.project = ([x, y]) => [x0 + scale * x, y0 - scale * y];
  }

  show(frame, peerFrame) {
    [this.frame, this.peerFrame] = [frame, peerFrame];
    this.surface.repaint();
  }

  paint(context, width, height) {
    context.clearRect(0, 0, width, height);
    this.drawRoad(context);
    this.drawScale(context, height);
    if (this.peer?.track) this.drawPeer(context);
    const driven = this.episode.track.driven_m.map(this.project);
    context.lineJoin = "round";
    context.strokeStyle = colours.ink;
    context.lineWidth = 2;
    strokePath(context, driven.slice(0, this.frame + 1));
    this.drawCar(context, driven);
  }

  drawRoad(context) {
    const { left_edge_m, right_edge_m } = this.episode.track;
    context.beginPath();
    for (const edge of [left_edge_m, right_edge_m]) {
      edge.map(this.project).forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
    }
    context.fillStyle = colours.road;
    context.fill("evenodd");
    context.strokeStyle = colours.peer;
    context.lineWidth = 0.75;
    context.stroke();
  }

  drawPeer(context) {
    const driven = this.peer.track.driven_m.map(this.project);
    context.fillStyle = colours.peer;
    fillCircle(context, ...driven[this.peerFrame], 4);
  }

  // A triangle that points where the car is going.
  drawCar(context, driven) {
    const [x, y] = driven[this.frame];
    const [before, after] = [Math.max(this.frame - 2, 0), Math.min(this.frame + 2, driven.length - 1)];
    const heading = Math.atan2(driven[after][1] - driven[before][1], driven[after][0] - driven[before][0]);
    context.save();
    context.translate(x, y);
    context.rotate(heading);
    context.fillStyle = colours.inhibiting;
    context.strokeStyle = colours.card;
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [along, across] of [[9, 0], [-6, 6], [-3, 0], [-6, -6]]) context.lineTo(along, across);
    context.closePath();
    context.fill();
    context.stroke();
    context.restore();
  }

  // A bar of a round length.
  drawScale(context, height) {
    const wanted_m = 60 / this.scale;
    const power = 10 ** Math.floor(Math.log10(wanted_m));
    const length_m = power * [5, 2, 1].find((step) => step * power <= wanted_m);
    const [x, y] = [10, height - 9];
    context.strokeStyle = colours.muted;
    context.lineWidth = 1.5;
    strokePath(context, [[x, y - 3], [x, y], [x + length_m * this.scale, y], [x + length_m * this.scale, y - 3]]);
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.fillStyle = colours.muted;
    context.textAlign = "left";
    context.textBaseline = "alphabetic";
    context.fillText(`${trim(length_m)} m`, x + length_m * this.scale + 6, y + 1);
  }
}
