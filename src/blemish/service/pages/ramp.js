// The run's colours of heat, as the service gives them: {R, G, B, A, I}, levels 0 to 255 at the places I.

// Stops of a CSS gradient.
export function gradient({ R, G, B, A, I }) {
  return I.map(
    (at, i) => `rgb(${R[i]} ${G[i]} ${B[i]} / ${(A[i] / 255).toFixed(2)}) ${((100 * at) / 255).toFixed(1)}%`,
  ).join(", ");
}

// `shares`: rows of values; painted with their largest as the hottest. One pixel a value: the browser enlarges it.
export function painted(shares, { R, G, B, A, I }) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [shares[0].length, shares.length];
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const most = Math.max(...shares.flat()) || 1;
  for (const [i, share] of shares.flat().entries()) {
    const level = (255 * share) / most;
    const at = Math.max(
      I.findIndex((each) => each >= level),
      0,
    );
    picture.data.set([R[at], G[at], B[at], A[at]], 4 * i);
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}
