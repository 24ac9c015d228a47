// Image files that the user gives.

/**
 * Read a file as a data URL.
 * @param {Blob} blob
 * @returns {Promise<string>}
 */
export function toDataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/**
 * Load an image from this service as a file. Throws when it cannot be loaded.
 * @param {string} url
 * @param {string} name
 */
export async function fetchImage(url, name) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`status ${response.status}`);
  const blob = await response.blob();
  return new File([blob], name, { type: blob.type });
}

/** An image file with its size in pixels. */
export class ImageFile {
  /**
   * @param {File} file
   * @param {number} width
   * @param {number} height
   */
  constructor(file, width, height) {
    this.file = file;
    this.width = width;
    this.height = height;
    /** @type {string | undefined} */
    this.placeholder = undefined;
  }

  /**
   * Read the size of an image. Throws when the browser cannot decode the file.
   * @param {File} file
   */
  static async read(file) {
    const bitmap = await createImageBitmap(file);
    const image = new ImageFile(file, bitmap.width, bitmap.height);
    bitmap.close();
    return image;
  }

  toDataUrl() {
    return toDataUrl(this.file);
  }

  /**
   * Return a blank image of the same size. A price depends only on the size, so that quotes, which follow every
   * change of the form, need not upload the image itself.
   */
  async toPlaceholder() {
    if (this.placeholder === undefined) {
      const canvas = new OffscreenCanvas(this.width, this.height);
      canvas.getContext("2d");
      this.placeholder = await toDataUrl(await canvas.convertToBlob({ type: "image/png" }));
    }
    return this.placeholder;
  }
}
